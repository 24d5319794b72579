"""The official Python client, `AsyncOpenAI`."""

from openai import AsyncOpenAI

from tests.clients.programs.contract import MODEL, Task, run


async def use(task: Task) -> None:
    """Hold one chat."""
    seen = task.seen
    client = task.keep(AsyncOpenAI(base_url=task.base_url, api_key="unused"))
    ask = client.chat.completions.create
    if not task.streamed:
        whole = await task.whole(
            ask(model=MODEL, messages=[{"role": "user", "content": task.question}], extra_headers=task.headers)
        )
        if whole is not None:
            task.piece(whole.choices[0].message.content)
            seen.finish = whole.choices[0].finish_reason
            seen.usage = whole.usage.completion_tokens if whole.usage else None
        return
    stream = await ask(
        model=MODEL,
        messages=[{"role": "user", "content": task.question}],
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=task.headers,
    )
    async for chunk in stream:
        seen.usage = chunk.usage.completion_tokens if chunk.usage else seen.usage
        seen.aborted = (chunk.model_extra or {}).get("aborted", seen.aborted)
        for choice in chunk.choices:
            seen.finish = choice.finish_reason or seen.finish
            if task.piece(choice.delta.content):
                await stream.close()
                return


run(use)
