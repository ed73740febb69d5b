"""The simulated world, as the official Python clients of OpenAI and Anthropic see it.

Usage: python_client.py BASE_URL RATE_LIMITED_URL BROKEN_URL

BASE_URL serves world.yaml, RATE_LIMITED_URL faults.yaml and BROKEN_URL broken.yaml, each ending in /v1.
"""

import json
import math
import sys
import traceback

import anthropic
import openai
from pydantic import BaseModel

KEY = "sk-simulated"
BASE, LIMITED, BROKEN = sys.argv[1:4]
MODEL = "gpt-4o-mini"
CLAUDE = "claude-sonnet-4-5"
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def client(url=BASE, key=KEY, **options):
    return openai.OpenAI(base_url=url, api_key=key, **({"max_retries": 0} | options))


def claude(url=BASE, key=KEY, **options):
    return anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key=key, **({"max_retries": 0} | options))


def raises(kind, status, call):
    try:
        call()
    except kind as error:
        assert type(error) is kind, type(error)
        assert error.status_code == status, error.status_code
        assert error.message
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of the coming days.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}
CLAUDE_WEATHER = {
    "name": "get_weather",
    "description": "The weather of the coming days.",
    "input_schema": WEATHER["function"]["parameters"],
}
ASK_WEATHER = {"role": "user", "content": "What is the weather in Paris and Rome?"}
ASK_HELLO = {"role": "user", "content": "Hello"}


class City(BaseModel):
    name: str
    population: int


class Answer(BaseModel):
    cities: list[City]
    confident: bool


@check
def a_chat_is_answered_with_text_and_usage():
    answer = client().chat.completions.create(
        model=MODEL, seed=1, messages=[{"role": "system", "content": "You are kind."}, ASK_HELLO]
    )
    assert answer.object == "chat.completion" and answer.model == MODEL
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content.startswith("Hello! I am the assistant")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


@check
def a_long_prompt_counts_as_cached():
    system = {"role": "system", "content": "You are the assistant of Acme. " * 300}
    usage = client().chat.completions.create(model=MODEL, messages=[system, ASK_HELLO]).usage
    assert 1024 <= usage.prompt_tokens_details.cached_tokens <= usage.prompt_tokens


@check
def the_same_request_gets_the_same_answer():
    def ask():
        return client().chat.completions.create(model=MODEL, seed=3, messages=[ASK_HELLO]).to_json()

    assert ask() == ask()


@check
def content_may_come_in_parts():
    parts = [{"type": "text", "text": "What is the weather"}, {"type": "text", "text": "in Paris?"}]
    answer = client().chat.completions.create(model=MODEL, tools=[WEATHER], messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.tool_calls


@check
def tools_are_called_in_parallel_and_answered():
    messages = [ASK_WEATHER]
    first = client().chat.completions.create(model=MODEL, tools=[WEATHER], messages=messages).choices[0]
    assert first.finish_reason == "tool_calls" and first.message.content is None
    calls = first.message.tool_calls
    assert [json.loads(call.function.arguments) for call in calls] == [
        {"city": "Paris", "days": 3},
        {"city": "Rome", "days": 3},
    ]
    assert len({call.id for call in calls}) == 2
    messages.append(first.message)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls]
    last = client().chat.completions.create(model=MODEL, tools=[WEATHER], messages=messages).choices[0]
    assert last.message.content == "It is sunny in Paris and rainy in Rome."
    assert last.message.tool_calls is None


@check
def parallel_calls_can_be_switched_off():
    answer = client().chat.completions.create(
        model=MODEL, tools=[WEATHER], messages=[ASK_WEATHER], parallel_tool_calls=False
    )
    assert len(answer.choices[0].message.tool_calls) == 1


@check
def a_tool_can_be_forced_or_forbidden():
    def ask(choice):
        return client().chat.completions.create(model=MODEL, tools=[WEATHER], messages=[ASK_HELLO], tool_choice=choice)

    forced = {"type": "function", "function": {"name": "get_weather"}}
    assert ask(forced).choices[0].message.tool_calls[0].function.name == "get_weather"
    assert ask("required").choices[0].message.tool_calls
    assert ask("none").choices[0].message.tool_calls is None


@check
def structured_output_is_parsed():
    answer = client().chat.completions.parse(model=MODEL, messages=[ASK_HELLO], response_format=Answer)
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Answer) and isinstance(parsed.cities[0], City)


@check
def a_judge_gives_scores_in_json():
    grade = {
        "type": "object",
        "properties": {"evidence": {"type": "string"}, "score": {"type": "integer"}},
        "required": ["evidence", "score"],
    }
    scores = {"type": "object", "properties": {"accuracy": grade}, "required": ["accuracy"]}
    schema = {"type": "object", "properties": {"scores": scores}, "required": ["scores"]}
    transcript = "<transcript>\nuser: weather in Paris?\nassistant: Sunny.\n</transcript>"
    answer = client().chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": transcript}],
        response_format={"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}},
    )
    verdict = json.loads(answer.choices[0].message.content)["scores"]["accuracy"]
    assert verdict == {"evidence": "It never called get_weather.", "score": 3}


@check
def json_mode_gives_an_object():
    answer = client().chat.completions.create(
        model=MODEL, messages=[ASK_HELLO], response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


@check
def an_answer_is_cut_at_its_limit():
    choice = client().chat.completions.create(model=MODEL, messages=[ASK_HELLO], max_completion_tokens=3).choices[0]
    assert choice.finish_reason == "length" and len(choice.message.content) == 12


@check
def a_stream_brings_the_text_in_pieces_and_the_usage_last():
    stream = client().chat.completions.create(
        model=MODEL, messages=[ASK_HELLO], stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    whole = client().chat.completions.create(model=MODEL, messages=[ASK_HELLO])
    assert len(pieces) > 1 and "".join(pieces) == whole.choices[0].message.content
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


@check
def a_stream_without_usage_has_none():
    chunks = list(client().chat.completions.create(model=MODEL, messages=[ASK_HELLO], stream=True))
    assert all(chunk.usage is None for chunk in chunks) and chunks[-1].choices[0].finish_reason == "stop"


@check
def a_stream_of_tool_calls_adds_up():
    with client().chat.completions.stream(
        model=MODEL, messages=[ASK_WEATHER], tools=[WEATHER], stream_options={"include_usage": True}
    ) as stream:
        events = {event.type for event in stream}
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Paris", "Rome"]
    assert final.choices[0].finish_reason == "tool_calls" and final.usage.total_tokens > 0
    assert "tool_calls.function.arguments.delta" in events


@check
def a_structured_stream_is_parsed():
    with client().chat.completions.stream(model=MODEL, messages=[ASK_HELLO], response_format=Answer) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Answer)


@check
def embeddings_come_in_base64_and_in_numbers_alike():
    texts = ["refund my order", "refund this order", "the weather in Oslo"]
    packed = client().embeddings.create(model="text-embedding-3-small", input=texts)
    plain = client().embeddings.create(model="text-embedding-3-small", input=texts, encoding_format="float")
    vectors = [entry.embedding for entry in packed.data]
    for a, b in zip(vectors, [entry.embedding for entry in plain.data], strict=True):
        assert len(a) == 64 and all(math.isclose(x, y, abs_tol=1e-6) for x, y in zip(a, b, strict=True))
    near, far = (sum(x * y for x, y in zip(vectors[0], vectors[n], strict=True)) for n in (1, 2))
    assert near > far
    assert packed.usage.total_tokens > 0


@check
def one_text_gives_one_embedding_of_the_length_asked_for():
    answer = client().embeddings.create(model="text-embedding-3-small", input="hello", dimensions=16)
    assert len(answer.data) == 1 and len(answer.data[0].embedding) == 16


@check
def models_are_listed():
    assert MODEL in [model.id for model in client().models.list()]
    assert client().models.retrieve(MODEL).id == MODEL


@check
def errors_are_exceptions_of_their_own_types():
    def ask(**options):
        return client().chat.completions.create(**({"model": MODEL, "messages": [ASK_HELLO]} | options))

    other = client(key="sk-other")
    error = raises(openai.AuthenticationError, 401, lambda: other.chat.completions.create(model=MODEL, messages=[ASK_HELLO]))
    assert error.code == "invalid_api_key"
    assert raises(openai.NotFoundError, 404, lambda: ask(model="gpt-0")).code == "model_not_found"
    assert raises(openai.BadRequestError, 400, lambda: ask(messages=[])).param == "messages"
    assert raises(openai.BadRequestError, 400, lambda: ask(temperature=9)).type == "invalid_request_error"
    assert raises(openai.BadRequestError, 400, lambda: ask(tool_choice="required")).param == "tool_choice"
    lonely = [ASK_HELLO, {"role": "tool", "tool_call_id": "nobody", "content": "x"}]
    assert raises(openai.BadRequestError, 400, lambda: ask(messages=lonely)).param == "messages[1]"
    raises(openai.BadRequestError, 400, lambda: client().embeddings.create(model="text-embedding-3-small", input=[]))


@check
def a_rate_limit_says_when_to_come_back_and_a_retry_succeeds():
    def ask(text, **options):
        messages = [{"role": "user", "content": text}]
        return client(LIMITED, **options).chat.completions.create(model=MODEL, messages=messages)

    error = raises(openai.RateLimitError, 429, lambda: ask("one"))
    assert error.code == "rate_limit_exceeded"
    assert error.response.headers["retry-after"] == "1" and error.response.headers["retry-after-ms"] == "50"
    assert ask("two", max_retries=1).choices[0].message.content


@check
def a_broken_server_is_an_internal_server_error_and_a_retry_succeeds():
    def ask(text, **options):
        messages = [{"role": "user", "content": text}]
        return client(BROKEN, **options).chat.completions.create(model=MODEL, messages=messages)

    raises(openai.InternalServerError, 500, lambda: ask("one"))
    assert ask("two", max_retries=1).choices[0].message.content


@check
def claude_answers_with_text_and_usage():
    answer = claude().messages.create(model=CLAUDE, max_tokens=100, system="You are kind.", messages=[ASK_HELLO])
    assert answer.content[0].text.startswith("Hello! I am the assistant") and answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0


@check
def claude_caches_what_is_marked():
    text = "You are the assistant of Acme. " * 300
    marked = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]
    usages = [
        claude().messages.create(model=CLAUDE, max_tokens=100, system=system, messages=[ASK_HELLO]).usage
        for system in (text, marked)
    ]
    assert usages[0].cache_read_input_tokens == 0 and usages[1].cache_read_input_tokens >= 1024
    assert usages[0].input_tokens == usages[1].input_tokens + usages[1].cache_read_input_tokens


@check
def claude_calls_tools():
    messages = [ASK_WEATHER]
    first = claude().messages.create(model=CLAUDE, max_tokens=100, tools=[CLAUDE_WEATHER], messages=messages)
    assert first.stop_reason == "tool_use"
    assert [block.input for block in first.content] == [{"city": "Paris", "days": 3}, {"city": "Rome", "days": 3}]
    messages.append({"role": "assistant", "content": first.content})
    results = [{"type": "tool_result", "tool_use_id": block.id, "content": "sunny"} for block in first.content]
    messages.append({"role": "user", "content": results})
    last = claude().messages.create(model=CLAUDE, max_tokens=100, tools=[CLAUDE_WEATHER], messages=messages)
    assert last.content[0].text == "It is sunny in Paris and rainy in Rome." and last.stop_reason == "end_turn"


@check
def claude_gives_structured_output_through_a_forced_tool():
    grade = {"type": "object", "properties": {"evidence": {"type": "string"}, "score": {"type": "integer"}}}
    scores = {"type": "object", "properties": {"accuracy": grade}}
    verdict = {"name": "verdict", "input_schema": {"type": "object", "properties": {"scores": scores}}}
    transcript = "<transcript>\nuser: weather in Paris?\nassistant: Sunny.\n</transcript>"
    answer = claude().messages.create(
        model=CLAUDE,
        max_tokens=500,
        tools=[verdict],
        tool_choice={"type": "tool", "name": "verdict"},
        messages=[{"role": "user", "content": transcript}],
    )
    [block] = answer.content
    assert block.name == "verdict" and block.input["scores"]["accuracy"]["score"] == 3


@check
def claude_streams():
    with claude().messages.stream(
        model=CLAUDE, max_tokens=500, tools=[CLAUDE_WEATHER], messages=[ASK_WEATHER]
    ) as stream:
        final = stream.get_final_message()
    assert [block.input["city"] for block in final.content] == ["Paris", "Rome"]
    with claude().messages.stream(model=CLAUDE, max_tokens=500, messages=[ASK_HELLO]) as stream:
        text = "".join(stream.text_stream)
    assert text.startswith("Hello! I am the assistant") and text.endswith("today?")


@check
def claude_raises_exceptions_of_its_own_types():
    def ask(source, model=CLAUDE, **options):
        return source.messages.create(**({"model": model, "max_tokens": 10, "messages": [ASK_HELLO]} | options))

    raises(anthropic.AuthenticationError, 401, lambda: ask(claude(key="sk-other")))
    raises(anthropic.NotFoundError, 404, lambda: ask(claude(), model="claude-0"))
    raises(anthropic.BadRequestError, 400, lambda: ask(claude(), messages=[]))
    raises(anthropic.BadRequestError, 400, lambda: ask(claude(), extra_body={"seed": 1}))
    raises(anthropic.RateLimitError, 429, lambda: ask(claude(LIMITED), system="claude"))
    raises(anthropic.InternalServerError, 500, lambda: ask(claude(BROKEN), system="claude"))


failed = 0
for function in CHECKS:
    try:
        function()
    except Exception:
        failed += 1
        print(f"FAILED {function.__name__}", file=sys.stderr)
        traceback.print_exc()
print(f"{len(CHECKS) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
