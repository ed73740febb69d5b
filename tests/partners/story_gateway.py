"""The LiteLLM proxy between the program and a world with faults."""

from partners import PLACE, QUICKSTART, Whetstone, expect, free_port, get, same, say

KEY = "sk-of-the-gateway"
CALM = "serverError: 0.005\n  rateLimited: {chance: 0.005, retryAfter: 50ms}"
FAULTY = "serverError: 0.03\n  rateLimited: {chance: 0.03, retryAfter: 200ms}"
MODELS = ("gpt-4o-mini", "judge", "writer")


def resource(url, key=None):
    """The quickstart with all models at one address."""
    text = (QUICKSTART / "optimization.yaml").read_text()
    key = f", apiKey: {{env: {key}}}" if key else ""
    names = ("openAI: {model: gpt-4o-mini}", "anthropic: {model: claude-sonnet-4-5}", "openAI: {model: gpt-4.1}")
    for old, model in zip(names, MODELS, strict=True):
        same(f"how often {old!r} is in the quickstart", 1, text.count(old))
        text = text.replace(old, f'openAI: {{model: {model}, baseURL: "{url}/v1"{key}}}')
    return text


def answered(world):
    return sum(get(f"{world}/stats")["answered"].values())


def story(binary, servers, work):
    whetstone = Whetstone(binary, work)
    whetstone.take(*(QUICKSTART / name for name in ("prompt.md", "tools.json", "scenarios.yaml")))
    calm = (QUICKSTART / "world.yaml").read_text()
    same("how often the faults are in the quickstart's world", 1, calm.count(CALM))
    world_file = work / whetstone.write("faulty.yaml", calm.replace(CALM, FAULTY))
    simulate = [binary, "simulate", "--world", world_file, "--listen", "127.0.0.1:0"]
    world = servers.start("faulty-world", simulate)
    port = free_port()
    models = "".join(
        f"  - {{model_name: {name}, litellm_params: {{model: openai/{name}, api_base: '{world}/v1', api_key: none}}}}\n"
        for name in MODELS
    )
    config = (
        f"model_list:\n{models}"
        "litellm_settings: {num_retries: 0, telemetry: false}\n"
        "router_settings: {num_retries: 0, disable_cooldowns: true}\n"
        f"general_settings: {{master_key: {KEY}}}\n"
    )
    config = work / whetstone.write("litellm.yaml", config)
    gateway = f"http://127.0.0.1:{port}"
    servers.start(
        "litellm",
        [PLACE / "litellm/bin/litellm", "--config", config, "--host", "127.0.0.1", "--port", port, "--telemetry", "False"],
        answers=f"{gateway}/health/liveliness",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    )

    whetstone.write("direct.yaml", resource(world))
    before = answered(world)
    direct = whetstone.run("run", "-f", "direct.yaml", "--store", "direct.db", code=0, out="direct")
    same("calls paid directly, as the world has answered them", answered(world) - before, direct.calls["paidCalls"])
    faults = get(f"{world}/stats")["faults"]
    expect("faults", faults["rateLimited"] > 10 and faults["serverError"] > 10, faults)
    figures = f"promoted {direct.scores()}; {direct.calls['paidCalls']} calls paid, as answered"
    figures += f"; {faults['rateLimited']} x 429 and {faults['serverError']} x 500"
    say("gateway: directly, with faults", figures, direct.seconds)

    whetstone.write("gateway.yaml", resource(gateway, "GATEWAY_KEY"))
    before = answered(world)
    through = whetstone.run("run", "-f", "gateway.yaml", "--store", "gateway.db", code=0, out="through", GATEWAY_KEY=KEY)
    same("figures through LiteLLM", direct.figures(), through.figures())
    same("calls paid through LiteLLM, as the world has answered them", answered(world) - before, through.calls["paidCalls"])
    say("gateway: through LiteLLM", f"promoted {through.scores()}, the same in every figure; paid {through.paid}", through.seconds)

    before = answered(world)
    again = whetstone.run("run", "-f", "gateway.yaml", "--store", "gateway.db", code=0, out="again", GATEWAY_KEY=KEY)
    same("calls paid by the same run again, and answered", (0, before), (again.calls["paidCalls"], answered(world)))
    say("gateway: the same run again", f"the same; {again.calls['total']} calls from the ledger, paid 0", again.seconds)

    whetstone.write("no-key.yaml", resource(gateway))
    none = whetstone.run("run", "-f", "no-key.yaml", "--store", "no-key.db", code=1, out="no-key")
    # LiteLLM answers a bare "500 Internal server error" to it, which is retried like an outage before it is reported.
    expect("a hint at the key that is missing", "no key was sent" in none.text and "apiKey" in none.text, none.text)
    expect("it within a minute", none.seconds < 60, f"{none.seconds:.1f} s")
    say("gateway: no key", one_line(none.text), none.seconds)

    wrong = whetstone.run("run", "-f", "gateway.yaml", "--store", "wrong.db", code=1, out="wrong", GATEWAY_KEY="sk-of-another")
    expect("a word of the key that is wrong", "GATEWAY_KEY" in wrong.text or "apiKey" in wrong.text, wrong.text)
    expect("no key in the message", "sk-of-another" not in wrong.text, wrong.text)
    expect("it at once", wrong.seconds < 10, f"{wrong.seconds:.1f} s")
    say("gateway: a wrong key", one_line(wrong.text), wrong.seconds)
    same("calls that these paid", before, answered(world))


def one_line(text):
    error = next((line for line in text.splitlines() if line.startswith("error:")), text)
    return error if len(error) <= 200 else f"...{error[-200:]}"
