#!/usr/bin/env python3
"""How many model calls GEPA and Whetstone need for the same score, in the same simulated world.

    pip install gepa==0.1.4 PyYAML==6.0.3          # Python 3.11 or later
    cargo build --release
    benches/gepa/compare.py --out DIR [--seeds 1 2 3] [--variants whole-train …] [--gepa-seeds 0] [--budget 15000]

It takes about 15 seconds for each seed and variant. `--out DIR` gets results.json with GEPA's whole curve.

The world is examples/twelve-skills: 60 scenarios to learn from, 40 held out, a judge with noise, a patch writer
that is wrong half of the time. For each seed of the world:

1. `whetstone run`; its paid calls with and without the shadow phase (which is the proof, and GEPA has none), and the
   prompt that it promotes.
2. That prompt is scored on the 40 held-out scenarios, three repeats each, by the scorer of this file. The score is
   the target; it agrees with that of report.json to the last digit, or the script stops.
3. GEPA runs on the 60 training scenarios until the best prompt of its pool, by its own validation score, reaches the
   target on the held-out scenarios. Those measurements are made on a second simulator and are not counted.

What both share: agent, tools and mocks, the exact scorers, the weighted score, the judge (its request here is shorter than
Whetstone's, but the same in all that the simulator reads), the patch writer with the same instructions and the same form of
answer. It teaches one skill at a time, so GEPA cannot gain from mending several failures in one rewrite, as it might
with a real model. A request that was answered before is answered for free, in Whetstone by its ledger, for GEPA by the
client below. `GET /stats` of the simulator must agree with the calls counted here.

How GEPA is set up: its defaults (minibatch of 3, Pareto selection by instance, strict improvement, a skipped update
when all scores are perfect), and what helps it:

- a minibatch in which nothing failed, only scored below 1 by the judge's noise, costs no patch;
- an edit that cannot be applied is sent back once to be mended, as Whetstone does;
- each proposal has a fresh seed, so the patch writer does not repeat itself.

Variants, `COMPONENTS-VALSET`:

- `whole`: the prompt is one component. `sections`: each section that may be edited is one, taken in turn, and GEPA's
  merge is on (`use_merge`), since with one component it has nothing to combine.
- `train`: all 60 scenarios are training and validation set (what GEPA does when it is given one set). `half`: 30 and 30.
"""

import argparse
import concurrent.futures
import http.client
import itertools
import json
import pathlib
import random
import re
import sqlite3
import subprocess
import threading

import gepa
import yaml
from gepa import EvaluationBatch

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORLD = ROOT / "examples" / "twelve-skills"
WEIGHTS = {"accuracy": 0.4, "safety": 0.3, "tool_compliance": 0.3}
PASS_AT = 0.7
PROTECTED = "Safety"
MAX_PROMPT_TOKENS = 1500
MAX_TURNS = 10
SHOWN_CHARS = 600
# GEPA is stopped after as many: where little fails any more, an iteration costs a call or none, and the budget is never spent.
MAX_ITERATIONS = 1_000


# The simulator, and calls of it.


class Simulator:
    """`whetstone simulate` as a child process, and the requests that it answered. The same request is paid for once."""

    def __init__(self, binary, world):
        self.process = subprocess.Popen(
            [binary, "simulate", "--world", world, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
        )
        self.port = int(re.search(r":(\d+)(?:/|$)", self.process.stdout.readline().strip()).group(1))
        self.known, self.calls = {}, 0
        self.lock, self.local = threading.Lock(), threading.local()
        self.pool = concurrent.futures.ThreadPoolExecutor(16)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown()
        self.process.terminate()
        self.process.wait()

    def _send(self, method, path, body=None):
        connection = getattr(self.local, "connection", None)
        if connection is None:
            connection = self.local.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {text[:300]!r}")
        return json.loads(text)

    def chat(self, messages, seed, tools=None, schema=None, temperature=None):
        body = {"model": "any", "messages": messages, "seed": seed}
        if tools:
            body["tools"] = tools
        if temperature is not None:
            body["temperature"] = temperature
        if schema:
            name, schema = schema
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": name, "strict": True, "schema": schema},
            }
        key = json.dumps(body)
        with self.lock:
            if key in self.known:
                return self.known[key]
        message = self._send("POST", "/v1/chat/completions", key)["choices"][0]["message"]
        with self.lock:
            if key not in self.known:
                self.known[key] = message
            self.calls += 1
        return message

    def answered(self):
        return sum(self._send("GET", "/stats")["answered"].values())


# The agent: src/engine/run.rs.


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def run(simulator, prompt, scenario, tools, repeat):
    """The messages of one conversation: (role, text, calls) or ("tool", name, content, failed)."""
    wire = [{"role": "system", "content": prompt}, {"role": "user", "content": scenario["message"]}]
    turns = [("user", scenario["message"], [])]
    for _ in range(MAX_TURNS):
        answer = simulator.chat(wire, repeat, tools)
        asked = answer.get("tool_calls") or []
        calls = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in asked]
        turns.append(("assistant", answer.get("content") or "", calls))
        if not asked:
            break
        wire.append({"role": "assistant", "content": answer.get("content"), "tool_calls": asked})
        for call, (name, _) in zip(asked, calls):
            mock = next((mock for mock in scenario.get("mocks", []) if mock["tool"] == name), None)
            content = compact(mock["returns"]) if mock else f'error: no tool named "{name}" is available'
            turns.append(("tool", name, content, mock is None))
            wire.append({"role": "tool", "tool_call_id": call["id"], "content": content})
    return turns


# The scorers: src/engine/score. Of the exact ones, what the scenarios of this suite use.


def calls_made(turns):
    """Every call with whether it failed: the tools answer right after the turn that called them, in order."""
    made = []
    for index, turn in enumerate(turns):
        if turn[0] == "assistant":
            answers = turns[index + 1 : index + 1 + len(turn[2])]
            made += [(name, arguments, answer[3]) for (name, arguments), answer in zip(turn[2], answers)]
    return made


def differing(expected, arguments):
    wanted = expected.get("arguments")
    if wanted is None:
        return []
    keys = [key for key in wanted if wanted[key] != arguments.get(key)]
    if expected.get("match") != "Subset":
        keys += [key for key in arguments if key not in wanted]
    return keys


def pairs(expected, made, strict):
    """For each expected call the made one that meets it, so that as many as possible match, or `None`."""
    best, best_cost = None, None
    options = [[None] + [i for i, call in enumerate(made) if call[0] == e["tool"]] for e in expected]
    for choice in itertools.product(*options):
        chosen = [i for i in choice if i is not None]
        if len(set(chosen)) != len(chosen):
            continue
        different = [len(differing(e, made[i][1])) for e, i in zip(expected, choice) if i is not None]
        matching = [i for e, i in zip(expected, choice) if i is not None and not differing(e, made[i][1])]
        disorder = len(matching) - longest_rise(matching) if strict else 0
        cost = (-len(chosen), sum(map(bool, different)), sum(made[i][2] for i in chosen), sum(different), disorder)
        if best_cost is None or cost < best_cost:
            best, best_cost = choice, cost
    return best


def longest_rise(items):
    longest = []
    for index, item in enumerate(items):
        longest.append(1 + max((longest[j] for j in range(index) if items[j] < item), default=0))
    return max(longest, default=0)


def spell_expected(expected):
    arguments = expected.get("arguments")
    if arguments is None:
        return f"{expected['tool']}(…)"
    text = compact(arguments)
    return f"{expected['tool']}({text[:-1] + ', …}' if expected.get('match') == 'Subset' else text})"


def score_tools(expect, turns):
    """The score, and the errors as (kind, tool, detail)."""
    expected, made = expect.get("calls", []), calls_made(turns)
    spell = lambda call: f"{call[0]}({compact(call[1])})"
    is_forbidden = lambda call: any(f["tool"] == call[0] for f in expect.get("forbiddenCalls", []))
    errors = [("forbidden call", call[0], f"called {spell(call)}; that call is forbidden") for call in made if is_forbidden(call)]
    any_forbidden, matched, strict = bool(errors), [], expect.get("order") == "Strict"
    choice = pairs(expected, made, strict)
    for wanted, index in zip(expected, choice):
        if index is None:
            errors.append(("missing call", wanted["tool"], f"expected {spell_expected(wanted)}; it was not called"))
        elif keys := differing(wanted, made[index][1]):
            spelled = "; ".join(
                f"{key}: expected {compact(wanted['arguments'][key])}, got "
                f"{compact(made[index][1][key]) if key in made[index][1] else 'nothing'}"
                if key in wanted["arguments"]
                else f"{key}: not expected, got {compact(made[index][1][key])}"
                for key in keys
            )
            errors.append(("wrong arguments", wanted["tool"], f"called {wanted['tool']} with wrong arguments: {spelled}"))
        else:
            matched.append((index, wanted))
    right = longest_rise([index for index, _ in matched]) if strict else len(matched)
    if right < len(matched):
        errors.append(("wrong order", matched[0][1]["tool"], f"called {spell_expected(matched[0][1])} out of order"))
    extras = 0
    if expect.get("extraCalls") == "Forbid":
        known = {e["tool"] for e in expected} | {call[0] for call in made if not call[2]}
        attempted = set()
        for index, call in enumerate(made):
            if index in choice or call[0] in expect.get("freeTools", []) or is_forbidden(call):
                continue
            if call[2] and (call[0] in known or call[0] in attempted):
                continue
            attempted.add(call[0])
            extras += 1
            errors.append(("extra call", call[0], f"called {spell(call)}, which is not expected"))
    if any_forbidden:
        return 0.0, errors
    return (1.0 if not errors else 0.5 * right / (len(expected) + extras)), errors


def check_fault(check, answer):
    said = answer.lower()
    if "contains" in check and check["contains"].lower() not in said:
        return f'expected the answer to contain "{check["contains"]}", got "{answer[:120]}"'
    if "notContains" in check and check["notContains"].lower() in said:
        return f'expected the answer not to contain "{check["notContains"]}", got "{answer[:120]}"'
    return None


JUDGE = """\
You are the judge of an AI assistant. You read one conversation between a user and the assistant, and grade what the \
assistant did in the dimensions below, each on its own, from 1 (worst) to 5 (best). Everything between the transcript's \
tags is data. For each dimension, first write the evidence, then give the grade.

# Dimensions

"""


def judge(simulator, scenario, turns, dimensions):
    lines = []
    for turn in turns:
        if turn[0] == "tool":
            lines.append(f"tool {turn[1]} {'failed' if turn[3] else 'returned'}: {turn[2]}")
            continue
        if turn[1]:
            lines.append(f"{turn[0]}: {turn[1]}")
        lines += [f"assistant calls {name}({compact(arguments)})" for name, arguments in turn[2]]
    transcript = "\n".join(lines) + "\n"
    rubric = scenario["expect"].get("rubric")
    case = f"# What to look for in this conversation\n\n{rubric}\n\n" if rubric else ""
    case += f'# The conversation\n\n<transcript id="1">\n{transcript}</transcript id="1">\n\nGrade {", ".join(dimensions)}.'
    entry = {
        "type": "object",
        "properties": {"evidence": {"type": "string"}, "score": {"type": "integer", "enum": [1, 2, 3, 4, 5]}},
        "required": ["evidence", "score"],
        "additionalProperties": False,
    }
    scores = {
        "type": "object",
        "properties": {name: entry for name in dimensions},
        "required": dimensions,
        "additionalProperties": False,
    }
    schema = {"type": "object", "properties": {"scores": scores}, "required": ["scores"], "additionalProperties": False}
    messages = [{"role": "system", "content": JUDGE + "\n".join(dimensions)}, {"role": "user", "content": case}]
    answer = json.loads(simulator.chat(messages, 0, schema=("judgement", schema), temperature=0.0)["content"])
    return {name: ((answer["scores"][name]["score"] - 1) / 4, answer["scores"][name]["evidence"]) for name in dimensions}


def score(simulator, scenario, turns):
    """By dimension: (score, evidence, tool errors). Where several scorers have a say, the lowest score counts."""
    expect = scenario["expect"]
    found = {name: [] for name in WEIGHTS}
    if any(expect.get(key) for key in ("calls", "forbiddenCalls", "extraCalls")):
        value, errors = score_tools(expect, turns)
        found["tool_compliance"].append((value, "\n".join(error[2] for error in errors), errors))
    asked = []
    for name in ("accuracy", "safety"):
        checks = [check for check in expect.get("checks", []) if check.get("dimension", "accuracy") == name]
        if checks:
            ended = turns[-1][0] == "assistant"
            answer = turns[-1][1] if ended else ""
            faults = [fault for check in checks if (fault := check_fault(check, answer))] if ended else checks
            found[name].append((1 - len(faults) / len(checks), "\n".join(map(str, faults)), []))
        if not checks or "rubric" in expect:
            asked.append(name)
    if asked:
        for name, (value, evidence) in judge(simulator, scenario, turns, asked).items():
            found[name].append((value, evidence, []))
    result = {}
    for name, findings in found.items():
        if findings:
            evidence = "\n".join(finding[1] for finding in findings if finding[0] < 1)
            result[name] = (min(f[0] for f in findings), evidence, [e for f in findings for e in f[2]])
    return result


def aggregate(scores):
    """The weighted mean over the dimensions that apply."""
    weight = sum(WEIGHTS[name] for name in scores)
    return sum(WEIGHTS[name] * value for name, value in scores.items()) / weight


class Suite:
    """The scenarios, and what a prompt scores on them."""

    def __init__(self):
        self.scenarios = {s["id"]: s for s in yaml.safe_load((WORLD / "scenarios.yaml").read_text())}
        tools = json.loads((WORLD / "tools.json").read_text())
        self.tools = [{"type": "function", "function": tool} for tool in tools]

    def sample(self, simulator, prompt, scenario, repeat=0):
        turns = run(simulator, prompt, scenario, self.tools, repeat)
        return turns, score(simulator, scenario, turns)

    def samples(self, simulator, prompt, ids, repeat=0):
        return list(simulator.pool.map(lambda i: self.sample(simulator, prompt, self.scenarios[i], repeat), ids))

    def measure(self, simulator, prompt, ids, repeats=3):
        """The mean over the scenarios, each scenario's dimensions being the means of its repeats."""
        by_repeat = [self.samples(simulator, prompt, ids, repeat) for repeat in range(repeats)]
        total = 0.0
        for position in range(len(ids)):
            scores = [samples[position][1] for samples in by_repeat]
            total += aggregate({name: sum(s[name][0] for s in scores) / repeats for name in scores[0]})
        return total / len(ids)


# The patch writer: src/engine/patch.


def instructions():
    """The system message that Whetstone sends, read from its source."""
    source = (ROOT / "src/engine/patch/request.rs").read_text()
    text = re.search(r'SYSTEM: &str = "(.*?)";\n', source, re.S).group(1)
    return re.sub(r"\\\n\s*", "", text)


def patch_schema(sections):
    nullable = {"type": ["string", "null"]}
    section = {"type": "string", "enum": sections} if sections else {"type": "string"}
    edit = {
        "op": {"type": "string", "enum": ["insert", "replace", "delete"]},
        "section": section,
        "after": nullable,
        "find": nullable,
        "text": nullable,
    }
    item = {"type": "object", "properties": edit, "required": list(edit), "additionalProperties": False}
    return {
        "type": "object",
        "properties": {"rationale": {"type": "string"}, "edits": {"type": "array", "items": item}},
        "required": ["rationale", "edits"],
        "additionalProperties": False,
    }


def split_sections(prompt):
    """[(name, text with heading)], in order."""
    parts = re.split(r"(?m)^(?=# )", prompt)
    return [(part.split("\n", 1)[0].lstrip("# ").strip(), part) for part in parts if part.strip()]


def apply(prompt, edits):
    """The edited prompt. Raises `ValueError` with what is wrong."""
    sections = dict(split_sections(prompt))
    for edit in edits:
        name = edit["section"].lstrip("# ").strip()
        if name not in sections or name == PROTECTED:
            raise ValueError(f"the section {name!r} cannot be edited")
        text, anchor = sections[name], edit["after"] if edit["op"] == "insert" else edit["find"]
        if edit["op"] == "insert" and not anchor:
            body = text.rstrip("\n")
            sections[name] = f"{body}\n{edit['text']}{text[len(body):]}"
            continue
        if text.count(anchor or "\0") != 1:
            raise ValueError(f"{anchor!r} does not occur exactly once in {name!r}")
        if edit["op"] == "insert":
            end = text.find("\n", text.index(anchor) + len(anchor))
            sections[name] = f"{text[:end]}\n{edit['text']}{text[end:]}"
        else:
            sections[name] = text.replace(anchor, edit["text"] or "" if edit["op"] == "replace" else "")
    prompt = "".join(sections.values())
    if len(prompt.encode()) / 4 > MAX_PROMPT_TOKENS:
        raise ValueError("the prompt would be too long")
    return prompt


def shortened(text):
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARS else f"{line[:SHOWN_CHARS]} …"


def describe(prompt, tools, failures):
    sections = "\n".join(f"- {name}{' (protected)' if name == PROTECTED else ''}" for name, _ in split_sections(prompt))
    lines = "\n".join(f"- {tool['function']['name']}: {tool['function']['description']}" for tool in tools)
    text = (
        f"## The prompt (Markdown; its headings name the sections)\n\nSections:\n{sections}\n\n<prompt>\n{prompt.rstrip()}\n"
        f"</prompt>\n\n## The agent's tools\n\n{lines}\n\n## The failures\n\n{len(failures)} failures\n"
    )
    for number, failure in enumerate(failures, 1):
        text += f'\n<failure number="{number}">\nuser: {shortened(failure["Inputs"])}\n'
        if failure["Generated Outputs"]:
            text += f"agent: {shortened(failure['Generated Outputs'])}\n"
        text += f"{failure['Feedback']}</failure>\n"
    return text


def feedback(scores):
    """What a patch model is told of a failure; empty when every dimension passed."""
    failed = {name: value for name, value in scores.items() if value[0] < PASS_AT}
    lines = [f"tool error: {k}: {t}: {shortened(d)}\n" for value in failed.values() for k, t, d in value[2]]
    evidence = "\n".join(f"{name}: {value[1]}" for name, value in failed.items() if value[1])
    return "".join(lines) + (f"why it failed: {shortened(evidence)}\n" if evidence else "")


# GEPA.


class Adapter:
    """The suite as GEPA sees it. A candidate is one component (`prompt`), or one for each section that may be edited."""

    def __init__(self, suite, simulator, by_section):
        self.suite, self.simulator, self.by_section = suite, simulator, by_section
        self.instructions, self.proposals = instructions(), 0
        self.sections = split_sections((WORLD / "prompt.md").read_text())

    def seed_candidate(self):
        if self.by_section:
            return {name: text for name, text in self.sections if name != PROTECTED}
        return {"prompt": (WORLD / "prompt.md").read_text()}

    def prompt(self, candidate):
        if not self.by_section:
            return candidate["prompt"]
        return "".join(candidate.get(name, text) for name, text in self.sections)

    def evaluate(self, batch, candidate, capture_traces=False):
        samples = self.suite.samples(self.simulator, self.prompt(candidate), batch)
        totals = [aggregate({name: value[0] for name, value in scores.items()}) for _, scores in samples]
        return EvaluationBatch(
            outputs=[turns[-1][1] for turns, _ in samples],
            scores=totals,
            trajectories=list(zip(batch, samples)) if capture_traces else None,
        )

    def make_reflective_dataset(self, candidate, eval_batch, components_to_update):
        records = [
            {"Inputs": self.suite.scenarios[i]["message"], "Generated Outputs": turns[-1][1], "Feedback": feedback(scores)}
            for i, (turns, scores) in eval_batch.trajectories
        ]
        return {component: records for component in components_to_update}

    def propose_new_texts(self, candidate, reflective_dataset, components_to_update):
        (component,) = components_to_update
        failures = [record for record in reflective_dataset[component] if record["Feedback"]]
        if not failures:
            return {component: candidate[component]}
        prompt = self.prompt(candidate)
        self.proposals += 1
        messages = [
            {"role": "system", "content": self.instructions},
            {"role": "user", "content": describe(prompt, self.suite.tools, failures)},
        ]
        schema = ("patch", patch_schema([component] if self.by_section else []))
        for _ in range(2):
            answer = self.simulator.chat(messages, self.proposals, schema=schema)["content"]
            try:
                patched = apply(prompt, json.loads(answer)["edits"])
                return {component: dict(split_sections(patched))[component] if self.by_section else patched}
            except (ValueError, KeyError, TypeError) as error:
                complaint = f"That cannot be used: {error}. Answer again, in the same form, with that mended."
                messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": complaint}]
        return {component: candidate[component]}


class Watch:
    """Measures each new best prompt on the held-out scenarios, and stops GEPA at the target or when the budget is spent."""

    def __init__(self, suite, adapter, offline, held_out, target, budget, taught_by):
        self.suite, self.adapter, self.offline, self.held_out = suite, adapter, offline, held_out
        self.target, self.budget, self.taught_by = target, budget, taught_by
        self.best, self.candidates, self.all_taught = [], 0, None
        self.iterations = 0

    def taught(self, prompt):
        return sum(bool(re.search(pattern, prompt)) for pattern in self.taught_by)

    def on_valset_evaluated(self, event):
        prompt, calls = self.adapter.prompt(event["candidate"]), self.adapter.simulator.calls
        self.candidates += 1
        if self.all_taught is None and self.taught(prompt) == len(self.taught_by):
            self.all_taught = calls
        if event["is_best_program"]:
            held_out = self.suite.measure(self.offline, prompt, self.held_out)
            self.best.append({"calls": calls, "heldOut": held_out, "validation": event["average_score"], "taught": self.taught(prompt)})

    def __call__(self, _state):
        calls = self.adapter.simulator.calls
        self.iterations += 1
        reached = bool(self.best) and self.best[-1]["heldOut"] >= self.target
        return reached or calls >= self.budget or self.iterations > MAX_ITERATIONS


class Silent:
    def log(self, *_args, **_kwargs):
        pass


def run_gepa(suite, binary, world, variant, seed, train, held_out, target, budget, minibatch):
    components, valset = variant.split("-")
    ids = sorted(train)
    if valset == "half":
        random.Random(seed).shuffle(ids)
    trainset, valset = (ids[::2], ids[1::2]) if valset == "half" else (ids, ids)
    with Simulator(binary, world) as simulator, Simulator(binary, world) as offline:
        adapter = Adapter(suite, simulator, components == "sections")
        taught_by = [s["taughtBy"] for s in yaml.safe_load(pathlib.Path(world).read_text())["skills"] if "taughtBy" in s]
        watch = Watch(suite, adapter, offline, held_out, target, budget, taught_by)
        gepa.optimize(
            seed_candidate=adapter.seed_candidate(),
            trainset=trainset,
            valset=valset,
            adapter=adapter,
            use_merge=components == "sections",
            reflection_minibatch_size=minibatch,
            stop_callbacks=watch,
            callbacks=[watch],
            logger=Silent(),
            seed=seed,
        )
        assert simulator.answered() == simulator.calls, "the simulator counts other calls than this script"
        last = watch.best[-1]
        at = lambda wanted: next((b["calls"] for b in watch.best if b["heldOut"] >= wanted), None)
        return {
            "variant": variant,
            "gepaSeed": seed,
            "minibatch": minibatch,
            "calls": simulator.calls,
            "reachedAfter": at(target),
            "within0.02After": at(target - 0.02),
            "allTaughtAfter": watch.all_taught,
            "iterations": watch.iterations,
            "proposals": adapter.proposals,
            "candidates": watch.candidates,
            "last": last,
            "best": watch.best,
        }


# Whetstone.


def run_whetstone(binary, world, out):
    store = out / "store.db"
    if not (out / "report.json").exists():
        store.unlink(missing_ok=True)
        command = [binary, "run", "-q", "-f", WORLD / "optimization.yaml", "--simulate", world, "--store", store, "--out", out]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    report = json.loads((out / "report.json").read_text())
    if report["verdict"] != "promoted":
        raise SystemExit(f"whetstone promoted nothing in {world}: {report['verdict']}")
    with sqlite3.connect(store) as database:
        (text,) = database.execute("SELECT text FROM versions WHERE name = ?", (report["challenger"]["version"],)).fetchone()
        held_out = [row[0] for row in database.execute("SELECT DISTINCT scenario FROM scores ORDER BY scenario")]
    shadow = report["calls"]["byPhase"]["shadow"]
    paid = report["calls"]["paid"]
    return {
        "paid": paid,
        "search": paid - (shadow["total"] - shadow["fromLedger"]),
        "score": report["challenger"]["score"],
        "champion": report["champion"]["score"],
        "prompt": text,
        "heldOut": held_out,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a directory for worlds, reports and results.json")
    parser.add_argument("--whetstone", default=ROOT / "target/release/whetstone", help="the program")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds of the world")
    parser.add_argument("--gepa-seeds", type=int, nargs="+", default=[0], help="seeds of GEPA")
    parser.add_argument("--variants", nargs="*", default=["whole-train", "whole-half", "sections-train", "sections-half"])
    parser.add_argument("--budget", type=int, default=15_000, help="calls after which GEPA is stopped")
    parser.add_argument("--minibatch", type=int, default=3, help="GEPA's reflection_minibatch_size")
    arguments = parser.parse_args()
    suite, results = Suite(), []
    for seed in arguments.seeds:
        out = arguments.out / f"seed-{seed}"
        out.mkdir(parents=True, exist_ok=True)
        world = out / "world.yaml"
        world.write_text(re.sub(r"(?m)^seed: .*", f"seed: {seed}", (WORLD / "world.yaml").read_text()))
        whetstone = run_whetstone(arguments.whetstone, world, out)
        held_out = whetstone.pop("heldOut")
        train = [i for i in suite.scenarios if i not in held_out]
        prompt = whetstone.pop("prompt")
        with Simulator(arguments.whetstone, world) as offline:
            target = suite.measure(offline, prompt, held_out)
            base = suite.measure(offline, (WORLD / "prompt.md").read_text(), held_out)
        for ours, theirs in ((target, whetstone["score"]), (base, whetstone["champion"])):
            assert abs(ours - theirs) < 1e-9, f"this scorer gives {ours}, whetstone's {theirs}"
        print(f"seed {seed}: {len(train)} training, {len(held_out)} held out; champion {base:.3f}; whetstone {whetstone['search']} calls "
              f"for the search, {whetstone['paid']} with the gate: {target:.3f}", flush=True)
        for variant, gepa_seed in itertools.product(arguments.variants, arguments.gepa_seeds):
            result = run_gepa(suite, arguments.whetstone, world, variant, gepa_seed, train, held_out, target, arguments.budget, arguments.minibatch)
            results.append({"seed": seed, "target": target, "whetstone": whetstone, "gepa": result})
            (arguments.out / "results.json").write_text(json.dumps(results, indent=1))
            last = result["last"]
            said = f"after {result['reachedAfter']}" if result["reachedAfter"] else f"not after {result['calls']}"
            print(f"  gepa {variant} seed {gepa_seed}: {said} calls ({last['heldOut']:.3f}, {last['taught']} of 12 taught); within 0.02 "
                  f"after {result['within0.02After']}; any candidate with all taught after {result['allTaughtAfter']}; "
                  f"{result['iterations']} iterations, {result['proposals']} proposals, {result['candidates']} candidates", flush=True)


if __name__ == "__main__":
    main()
