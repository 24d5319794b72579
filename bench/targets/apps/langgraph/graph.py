"""A graph of one node: a chat. `stream` of the input chooses whether the upstream is asked for a stream."""

from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph

streamed = ChatOpenAI(model="mock-gpt", max_retries=0, streaming=True)
# LangGraph would ask for a stream by itself in order to send messages.
whole = ChatOpenAI(model="mock-gpt", max_retries=0, disable_streaming=True)


class Chat(MessagesState):
    """The messages, and whether the answer is streamed."""

    stream: bool


async def talk(state: Chat) -> dict[str, list]:
    """Ask the upstream."""
    return {"messages": [await (streamed if state["stream"] else whole).ainvoke(state["messages"])]}


builder = StateGraph(Chat)
builder.add_node("talk", talk)
builder.add_edge(START, "talk")
builder.add_edge("talk", END)
graph = builder.compile()
