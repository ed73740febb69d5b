"""A small real model, as agent, as judge and as patch writer."""

import re

from partners import HERE, PLACE, Whetstone, expect, get, same, say

REVIEWS = HERE / "reviews"
MODEL = "smollm2-135m-instruct"


class Model:
    """The model, a scripted patch writer, and the forty reviews."""

    def __init__(self, binary, servers, work):
        self.smol = servers.start("model", [PLACE / "model/bin/python", "llm_server.py", PLACE / "smollm2.gguf"])
        simulate = [binary, "simulate", "--world", REVIEWS / "writer.yaml", "--listen", "127.0.0.1:0"]
        self.writer = servers.start("writer", simulate)
        self.whetstone = Whetstone(binary, work)
        self.whetstone.take(*REVIEWS.glob("*.md"), REVIEWS / "scenarios.yaml")
        template = (REVIEWS / "optimization.yaml").read_text()
        self.template = template.replace("SMOL", self.smol).replace("WRITER", f"{self.writer}/v1")

    def resource(self, champion, **changes):
        """Writes the resource with a champion, and with other texts in place of those that the file has."""
        text = self.template.replace("CHAMPION", champion)
        for old, new in changes.get("changes", {}).items():
            same(f"how often {old!r} is in the resource", 1, text.count(old))
            text = text.replace(old, new)
        return self.whetstone.write("optimization.yaml", text)

    def billed(self):
        """Calls, input and output tokens that the model's server has counted."""
        line = get(f"{self.smol}/stats").get(MODEL, {})
        return [line.get(key, 0) for key in ("answers", "inputTokens", "outputTokens")]

    def written(self):
        """Calls that the patch writer has answered."""
        return sum(get(f"{self.writer}/stats")["answered"].values())


def better_and_worse(model):
    before = model.billed()
    ran = model.whetstone.run("compare", "-f", model.resource("bad.md"), "--challenger", "good.md", code=0, out="better")
    same("the verdict", "passed", ran.report["verdict"])
    same("calls, and those from the ledger", (80, 0), (ran.calls["total"], ran.calls["fromLedger"]))
    billed = [now - was for was, now in zip(before, model.billed(), strict=True)]
    same("calls and tokens that the model's server has billed", [ran.calls["paidCalls"], *ran.usage()], billed)
    cut = [ran.report[side].get("answers", {}).get("cutShort", 0) for side in ("champion", "challenger")]
    expect("most answers to the bad prompt, and fewer to the good one, to be cut at maxOutputTokens", cut[0] > 20 > cut[1], cut)
    expect("the count of them for a person", f"cut off at the token limit in {cut[0]} runs" in ran.text, ran.text)
    figures = f"passed {ran.scores()}; {billed[0]} calls paid, {billed[1]} + {billed[2]} tokens, as billed"
    say("model: a bad and a good prompt", f"{figures}; {cut[0]} and {cut[1]} answers cut short", ran.seconds)

    before = model.billed()
    ran = model.whetstone.run("compare", "-f", model.resource("good.md"), "--challenger", "bad.md", code=10, out="worse")
    same("the verdict", "kept", ran.report["verdict"])
    calls = [ran.calls[key] for key in ("total", "fromLedger", "paidCalls")]
    same("calls, those from the ledger and those paid", [80, 80, 0], calls)
    same("what was paid", 0.0, ran.paid)
    same("what the model's server has billed", before, model.billed())
    say("model: the same the other way round", f"kept {ran.scores()}; 80 calls from the ledger, paid 0", ran.seconds)


def run(model):
    before, written = model.billed(), model.written()
    ran = model.whetstone.run("run", "-f", model.resource("plain.md"), code=0, out="run")
    same("the verdict", "promoted", ran.report["verdict"])
    expect("a cluster of failures", ran.report["clusters"])
    expect("a patch that was tried", ran.report["attempts"])
    agent, written = model.billed()[0] - before[0], model.written() - written
    same("calls that model and patch writer have answered", ran.calls["paidCalls"], agent + written)
    figures = f"promoted {ran.scores()}; {agent} calls of the model and {written} of the patch writer paid, as billed"
    say("model: a run", f"{figures}; {len(ran.report['clusters'])} clusters", ran.seconds)

    before = model.billed()
    again = model.whetstone.run("run", "-f", "optimization.yaml", code=0, out="again")
    same("champion and challenger of the same run again", ran.figures()["sides"], again.figures()["sides"])
    same("calls that it paid, and the bill", (0, before), (again.calls["paidCalls"], model.billed()))
    say("model: the same run again", f"the same; {again.calls['total']} calls from the ledger, paid 0", again.seconds)


def patches_of_its_own(model):
    """Nothing that so small a model writes can be used. The report must show what it wrote, and say what was wrong with it."""
    patching = "model: {ref: smol}, rounds: 1, candidatesPerCluster: 2, parameters: {temperature: 0.7, maxOutputTokens: 120}"
    changes = {"name: reviews}": "name: patches}", "model: {ref: writer}, rounds: 2": patching}
    ran = model.whetstone.run("run", "-f", model.resource("plain.md", changes=changes), code=10, out="patches")
    attempts = ran.report["attempts"]
    expect("a proposal", attempts)
    expect("none that survives", not any(attempt["survived"] for attempt in attempts), attempts)
    unread = [attempt for attempt in attempts if attempt["reason"].find("the patch model's answer") >= 0]
    cut = [attempt for attempt in unread if "cut short by the token limit of 120" in attempt["reason"]]
    expect("what the model wrote, where it was no patch", all(attempt.get("answer") for attempt in unread), unread)
    if len(unread) == len(attempts):
        expect("no word of patches that were tried", "no patch could be tried" in ran.reasons(), ran.reasons())
    figures = f"kept; {len(attempts)} proposals, {len(cut)} of them cut short and {len(unread) - len(cut)} of another form"
    say("model: as patch writer", figures, ran.seconds)


def judge_of_its_own(model):
    """So small a judge cannot tell answers apart, if it gets to the end of its JSON at all. That passes nobody, and is said."""
    scenarios = re.sub(r"  expect:\n    checks:\n(?:      .*\n)+", "", (REVIEWS / "scenarios.yaml").read_text())
    model.whetstone.write("judged.yaml", scenarios)
    judge = (
        "      - {name: accuracy, weight: 1, scorer: Judge, judge: {ref: smol, parameters: {maxOutputTokens: 80}},\n"
        "         rubric: The answer is one word and says rightly whether the customer is happy.}\n"
    )
    changes = {
        "name: reviews}": "name: judged}",
        "file: scenarios.yaml": "file: judged.yaml",
        "      - {name: accuracy, weight: 0.7, scorer: Checks}\n      - {name: form, weight: 0.3, scorer: Checks}\n": judge,
        "minimumSampleSize: 15": "minimumSampleSize: 6, shadowSampleSize: 6",
    }
    resource = model.resource("bad.md", changes=changes)
    ran = model.whetstone.run("compare", "-f", resource, "--challenger", "good.md", code=(1, 10, 12), out="judged")
    if ran.report is None:
        reported = "more than spec.execution.errorTolerance allows" in ran.text and 'judge "smol"' in ran.text
        expect("who failed, why and what to do", reported and "raise maxOutputTokens" in ran.text, ran.text)
        figures = "no verdict; too many of its judgements are cut short"
    else:
        figures = f"{ran.report['verdict']} {ran.scores()}: {ran.report['reasons'][0]['message']}"
    say("model: as judge", figures, ran.seconds)


def story(binary, servers, work):
    model = Model(binary, servers, work)
    better_and_worse(model)
    run(model)
    patches_of_its_own(model)
    judge_of_its_own(model)
