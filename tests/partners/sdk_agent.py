"""A support agent made with the OpenAI Agents SDK: sdk_agent.py MODEL_URL TOOLS.json SCENARIOS.yaml"""

import json
import sys

from agents import Agent, FunctionTool, ModelSettings, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from agents.items import ToolCallItem
from openai import AsyncOpenAI

from support import MODEL, Shop, Turn, serve

MOST_TURNS = 10

url, tools, scenarios = sys.argv[1:4]
set_tracing_disabled(True)
shop = Shop(tools, scenarios)
# The SDK defaults to /v1/responses.
model = OpenAIChatCompletionsModel(MODEL, AsyncOpenAI(base_url=url, api_key="none"))


def function_tool(tool, desk):
    async def invoke(_context, arguments):
        return desk.answer(tool["name"], json.loads(arguments or "{}"))

    return FunctionTool(
        name=tool["name"],
        description=tool["description"],
        params_json_schema=tool["parameters"],
        on_invoke_tool=invoke,
        strict_json_schema=False,
    )


async def answer(instructions, conversation, seed):
    desk = shop.desk(conversation)
    agent = Agent(
        name="support",
        instructions=instructions,
        model=model,
        model_settings=ModelSettings(extra_args={} if seed is None else {"seed": seed}),
        tools=[function_tool(tool, desk) for tool in shop.tools],
    )
    result = await Runner.run(agent, conversation, max_turns=MOST_TURNS)
    calls = [item.raw_item for item in result.new_items if isinstance(item, ToolCallItem)]
    usage = result.context_wrapper.usage
    return Turn(
        text=result.final_output,
        calls=[(call.name, call.arguments) for call in calls],
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
    )


serve(answer)
