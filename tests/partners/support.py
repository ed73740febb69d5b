"""What the two agents of this folder have in common: their tools, and the facade through which Whetstone reaches them.

An agent is a function from instructions, conversation and seed to a `Turn`. The facade makes an OpenAI-compatible endpoint of it, under
three addresses, as agents are found in the field:

    /v1               returns the calls that the agent has made inside as tool calls of its answer, and the tokens of all its requests
    /quiet/v1         returns neither: what the agent calls is its own business, and nobody counts its tokens
    /uncounted/v1     returns the calls, and no tokens

The tools answer from the mocks of a scenario file, since an endpoint runs its own tools. Which scenario it is follows from the first
message of its user, as it does for anything that a support desk would look up.
"""

import asyncio
import json
import socket
from dataclasses import dataclass, field

import uvicorn
import yaml
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from serving import end_with_parent

MODEL = "gpt-4o-mini"  # what the agents call behind themselves


@dataclass
class Turn:
    """What an agent has done in answer to one message: its words, the calls that it made, and the tokens that it took."""

    text: str
    calls: list = field(default_factory=list)  # (name, arguments as JSON text)
    input_tokens: int = 0
    output_tokens: int = 0


class Desk:
    """The tools of one conversation."""

    def __init__(self, scenario):
        self._mocks = scenario.get("mocks", [])

    def answer(self, tool, arguments):
        for mock in self._mocks:
            if mock["tool"] == tool and includes(arguments, mock.get("arguments", {})):
                if "error" in mock:
                    return f"error: {mock['error']}"
                value = mock.get("returns")
                return value if isinstance(value, str) else json.dumps(value)
        return f"error: no answer is defined for these arguments of {tool!r}"


def includes(value, part):
    """Whether a value has at least what a part of it has."""
    if isinstance(part, dict):
        return isinstance(value, dict) and all(key in value and includes(value[key], part[key]) for key in part)
    if isinstance(part, bool) or isinstance(value, bool):
        return part is value
    return part == value


def first_message(scenario):
    return scenario["message"] if "message" in scenario else scenario["conversation"][0]["user"]


class Shop:
    """The tools of an agent, and what they answer in each conversation."""

    def __init__(self, tools, scenarios):
        with open(tools) as file:
            self.tools = json.load(file)
        with open(scenarios) as file:
            self._by_message = {first_message(scenario): scenario for scenario in yaml.safe_load(file)}

    def desk(self, conversation):
        said = next((message["content"] for message in conversation if message["role"] == "user"), "")
        return Desk(self._by_message.get(said, {}))


def answer_of(turn, number, shows_calls, shows_usage):
    message = {"role": "assistant", "content": turn.text}
    if shows_calls and turn.calls:
        message["tool_calls"] = [
            {"id": f"call_{number}_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(turn.calls)
        ]
    answer = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": "support",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    if shows_usage:
        total = turn.input_tokens + turn.output_tokens
        answer["usage"] = {
            "prompt_tokens": turn.input_tokens,
            "completion_tokens": turn.output_tokens,
            "total_tokens": total,
        }
    return answer


def facade(agent):
    """The endpoint of an agent: an async function of instructions, conversation and seed."""
    app = FastAPI()
    answered = {"answers": 0}

    async def chat(request, shows_calls, shows_usage):
        instructions = "\n\n".join(entry["content"] for entry in request["messages"] if entry["role"] == "system")
        conversation = [
            {"role": entry["role"], "content": entry["content"]}
            for entry in request["messages"]
            if entry["role"] in ("user", "assistant")
        ]
        try:
            turn = await agent(instructions, conversation, request.get("seed"))
        except Exception as error:
            return JSONResponse({"error": {"message": f"{type(error).__name__}: {error}", "type": "server_error"}}, 500)
        answered["answers"] += 1
        return answer_of(turn, answered["answers"], shows_calls, shows_usage)

    @app.post("/v1/chat/completions")
    async def open_chat(request: dict):
        return await chat(request, True, True)

    @app.post("/quiet/v1/chat/completions")
    async def quiet_chat(request: dict):
        return await chat(request, False, False)

    @app.post("/uncounted/v1/chat/completions")
    async def uncounted_chat(request: dict):
        return await chat(request, True, False)

    @app.get("/stats")
    async def stats():
        return answered

    return app


def serve(agent):
    """Serves an agent on a free port of loopback, until its standard input is closed or it is stopped."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    end_with_parent()
    server = uvicorn.Server(uvicorn.Config(facade(agent), log_level="warning"))
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    asyncio.run(server.serve(sockets=[listener]))
