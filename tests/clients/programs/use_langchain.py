"""LangChain's `ChatOpenAI`."""

from contextlib import aclosing

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI

from tests.clients.programs.contract import MODEL, Task, run


async def use(task: Task) -> None:
    """Hold one chat."""
    model = task.keep(
        ChatOpenAI(
            model=MODEL, base_url=task.base_url, api_key="unused", default_headers=task.headers, stream_usage=True
        )
    )
    if not task.streamed:
        whole = await task.whole(model.ainvoke(task.question))
        if whole is not None:
            task.piece(str(whole.content))
            look(task, whole)
        return
    async with aclosing(model.astream(task.question)) as chunks:
        async for chunk in chunks:
            look(task, chunk)
            if task.piece(str(chunk.content)):
                return


def look(task: Task, message: AIMessage) -> None:
    """Record the finish reason, the usage and the extension field of a message."""
    seen, metadata = task.seen, message.response_metadata
    seen.finish = metadata.get("finish_reason") or seen.finish
    seen.aborted = metadata.get("aborted", seen.aborted)
    seen.usage = message.usage_metadata["output_tokens"] if message.usage_metadata else seen.usage


run(use)
