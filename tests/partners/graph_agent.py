"""A support agent made with LangGraph: graph_agent.py MODEL_URL TOOLS.json SCENARIOS.yaml"""

import json
import sys

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from support import MODEL, Shop, Turn, serve

url, tools, scenarios = sys.argv[1:4]
shop = Shop(tools, scenarios)
model = ChatOpenAI(model=MODEL, base_url=url, api_key="none", use_responses_api=False)


def structured_tool(tool, desk):
    async def invoke(**arguments):
        return desk.answer(tool["name"], arguments)

    return StructuredTool.from_function(
        coroutine=invoke, name=tool["name"], description=tool["description"], args_schema=tool["parameters"]
    )


def graph_of(desk, seed):
    offered = [structured_tool(tool, desk) for tool in shop.tools]
    bound = model.bind_tools(offered, **({} if seed is None else {"seed": seed}))

    async def agent(state):
        return {"messages": [await bound.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent)
    graph.add_node("tools", ToolNode(offered))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition)
    graph.add_edge("tools", "agent")
    return graph.compile()


async def answer(instructions, conversation, seed):
    kinds = {"user": HumanMessage, "assistant": AIMessage}
    begin = [SystemMessage(instructions)] + [kinds[entry["role"]](entry["content"]) for entry in conversation]
    state = await graph_of(shop.desk(conversation), seed).ainvoke({"messages": begin})
    said = [message for message in state["messages"][len(begin) :] if isinstance(message, AIMessage)]
    return Turn(
        text=said[-1].content,
        calls=[(call["name"], json.dumps(call["args"])) for message in said for call in message.tool_calls],
        input_tokens=sum(message.usage_metadata["input_tokens"] for message in said),
        output_tokens=sum(message.usage_metadata["output_tokens"] for message in said),
    )


serve(answer)
