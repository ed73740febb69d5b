"""Clusters by a real embedding model."""

from partners import PLACE, QUICKSTART, Whetstone, expect, get, same, say


def story(binary, servers, work):
    command = [PLACE / "embeddings/bin/python", "embedding_server.py", PLACE / "tokenizer.json"]
    minilm = servers.start("embeddings", command)
    world = servers.start("calm-world", [binary, "simulate", "--world", QUICKSTART / "world.yaml", "--listen", "127.0.0.1:0"])
    whetstone = Whetstone(binary, work)
    whetstone.take(*(QUICKSTART / name for name in ("prompt.md", "tools.json", "scenarios.yaml")))
    text = (QUICKSTART / "optimization.yaml").read_text()
    changes = {
        "openAI: {model: gpt-4o-mini}": f'openAI: {{model: worker, baseURL: "{world}/v1"}}',
        "anthropic: {model: claude-sonnet-4-5}": f'openAI: {{model: judge, baseURL: "{world}/v1"}}',
        "openAI: {model: gpt-4.1}": f'openAI: {{model: writer, baseURL: "{world}/v1"}}',
        "  scenarios: [": f'    - {{name: minilm, openAI: {{model: all-minilm-l6-v2, baseURL: "{minilm}/v1"}}, '
        'price: {inputPerMillion: "0.02", outputPerMillion: "0"}}\n  clustering: {embeddings: {ref: minilm}}\n  scenarios: [',
    }
    for old, new in changes.items():
        same(f"how often {old!r} is in the quickstart", 1, text.count(old))
        text = text.replace(old, new)
    whetstone.write("optimization.yaml", text)
    ran = whetstone.run("run", "-f", "optimization.yaml", "--store", "s.db", code=0, out="out")
    same("the verdict", "promoted", ran.report["verdict"])
    billed = get(f"{minilm}/stats").get("all-minilm-l6-v2", {"answers": 0, "inputTokens": 0})
    cluster = ran.calls["byPhase"].get("cluster", {"paidCalls": 0, "usage": {"input": 0}})
    expect("calls of the embedding model", billed["answers"] > 0, billed)
    seen = (cluster["paidCalls"], cluster["usage"]["input"])
    same("embedding calls and tokens, as billed", (billed["answers"], billed["inputTokens"]), seen)
    rounds = len({grouping["round"] for grouping in ran.report["groupings"]})
    expect("how each round was grouped", rounds > 0, ran.report["groupings"])
    figures = f"promoted {ran.scores()}; {billed['answers']} embedding calls, {billed['inputTokens']} tokens, as billed"
    say("embeddings: all-MiniLM-L6-v2", f"{figures}; {len(ran.report['clusters'])} clusters, rounds: {rounds}", ran.seconds)
