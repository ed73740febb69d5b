"""Agents of two frameworks behind an endpoint. The models behind them are the quickstart's simulated world."""

from partners import HERE, PLACE, QUICKSTART, Whetstone, expect, get, same, say

WARNING = "no answer of the agent has ever shown a tool call"
AGENTS = {"OpenAI Agents SDK": "sdk_agent.py", "LangGraph": "graph_agent.py"}


def resource(world, agent):
    """The quickstart, with the agent behind an endpoint and judge and patch writer in a simulated world."""
    text = (QUICKSTART / "optimization.yaml").read_text()
    changes = {
        "runtime: {model: {ref: worker}}": "runtime: {endpoint: {ref: worker}}",
        "openAI: {model: gpt-4o-mini}": f'openAI: {{model: support, baseURL: "{agent}"}}',
        "anthropic: {model: claude-sonnet-4-5}": f'openAI: {{model: judge, baseURL: "{world}/v1"}}',
        "openAI: {model: gpt-4.1}": f'openAI: {{model: writer, baseURL: "{world}/v1"}}',
    }
    for old, new in changes.items():
        same(f"how often {old!r} is in the quickstart", 1, text.count(old))
        text = text.replace(old, new)
    return text


def warnings(ran):
    return "\n".join(ran.report.get("warnings", []))


def conversation(agent):
    """A conversation of two turns, in each of which the agent calls a tool: the second goes out with what the first has shown."""
    return f"""apiVersion: whetstone.dev/v1alpha1
kind: AgentOptimization
metadata: {{name: turns}}
spec:
  profile: Prototype
  agent:
    prompt: {{file: prompt.md}}
    toolsFrom: [{{file: tools.json}}]
    runtime: {{endpoint: {{ref: worker}}}}
  models: [{{name: worker, openAI: {{model: support, baseURL: "{agent}"}}}}]
  scenarios: [{{file: turns.yaml}}]
  split: {{train: 1, regression: 0, heldOut: 0}}
  execution: {{repeats: 1}}
  scoring: {{dimensions: [{{name: tool_compliance, weight: 0.5}}, {{name: accuracy, weight: 0.5, scorer: Checks}}]}}
"""


def framework(name, script, binary, servers, work, world):
    slug = script.split(".")[0]
    tools, scenarios = QUICKSTART / "tools.json", work / "all.yaml"
    agent = servers.start(slug, [PLACE / "agents/bin/python", script, f"{world}/v1", tools, scenarios])
    whetstone = Whetstone(binary, work / slug)
    whetstone.take(QUICKSTART / "prompt.md", tools, QUICKSTART / "scenarios.yaml", HERE / "turns.yaml")

    def run(place, out, code):
        file = whetstone.write(f"{out}.yaml", resource(world, f"{agent}/{place}"))
        return whetstone.run("run", "-f", file, "--store", f"{out}.db", code=code, out=out)

    before = get(f"{world}/stats")["answered"], get(f"{agent}/stats")["answers"]
    shown = run("v1", "shown", 0)
    same("the verdict", "promoted", shown.report["verdict"])
    expect("no word of calls that are not shown", WARNING not in warnings(shown), warnings(shown))
    world_answered, agent_answered = get(f"{world}/stats")["answered"], get(f"{agent}/stats")["answers"]
    others = sum(world_answered[who] - before[0][who] for who in ("judge", "patch"))
    same("calls that agent, judge and patch writer have answered", agent_answered - before[1] + others, shown.calls["paidCalls"])
    say(name, f"promoted {shown.scores()}; {shown.calls['paidCalls']} calls paid, as answered", shown.seconds)

    quiet = run("quiet/v1", "quiet", (0, 10, 11, 12))
    expect("a warning that no tool call was ever shown", WARNING in warnings(quiet), warnings(quiet))
    false = [cluster["label"] for cluster in quiet.report["clusters"] if "missing call" in cluster["label"]]
    same("clusters of calls that were only not shown", [], false)
    dimensions = quiet.report["champion"]["dimensions"]
    expect("tool calls not to be scored", "tool_compliance" not in dimensions, dimensions)
    figures = f"{quiet.report['verdict']} {quiet.scores()}, calls not scored, and a warning"
    say(f"{name}: nothing shown", figures, quiet.seconds)

    uncounted = run("uncounted/v1", "uncounted", 0)
    for side in ("champion", "challenger"):
        same(f"the {side}'s scores without usage", shown.report[side]["dimensions"], uncounted.report[side]["dimensions"])
    expect("an estimate of what was paid", uncounted.paid > 0, uncounted.paid)
    figures = f"promoted {uncounted.scores()}; paid about {uncounted.paid:.3f}, where {shown.paid:.3f} was counted"
    say(f"{name}: tokens not counted", figures, uncounted.seconds)

    file = whetstone.write("turns-optimization.yaml", conversation(f"{agent}/v1"))
    turns = whetstone.run("run", "-f", file, "--store", "turns.db", code=(10, 12), out="turns")
    dimensions = turns.report["champion"]["dimensions"]
    same("the scores of a conversation of two turns", {"accuracy": 1.0, "tool_compliance": 1.0}, dimensions)
    same("its calls", 2, turns.calls["paidCalls"])
    say(f"{name}: two turns with calls", "both turns answered, 1.000", turns.seconds)
    return shown, quiet


def story(binary, servers, work):
    world = servers.start("world", [binary, "simulate", "--world", QUICKSTART / "world.yaml", "--listen", "127.0.0.1:0"])
    work.mkdir(parents=True, exist_ok=True)
    (work / "all.yaml").write_text((QUICKSTART / "scenarios.yaml").read_text() + (HERE / "turns.yaml").read_text())
    (sdk, quiet_sdk), (graph, quiet_graph) = (
        framework(name, script, binary, servers, work, world) for name, script in AGENTS.items()
    )
    same("the figures of both agents", sdk.figures() | {"paid": None}, graph.figures() | {"paid": None})
    same("their figures without calls", quiet_sdk.figures() | {"paid": None}, quiet_graph.figures() | {"paid": None})
