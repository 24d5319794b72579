"""A chat; `stream` in a message's metadata chooses whether the upstream is asked for a stream."""

import chainlit as cl
from openai import AsyncOpenAI

client = AsyncOpenAI(max_retries=0)


@cl.on_message
async def talk(message: cl.Message) -> None:
    """Answer one message."""
    ask = {"model": "mock-gpt", "messages": [{"role": "user", "content": message.content}]}
    answer = cl.Message(content="")
    if (message.metadata or {}).get("stream", True):
        async with await client.chat.completions.create(**ask, stream=True) as chunks:
            async for chunk in chunks:
                if chunk.choices and (delta := chunk.choices[0].delta.content):
                    await answer.stream_token(delta)
    else:
        whole = await client.chat.completions.create(**ask)
        answer.content = whole.choices[0].message.content
    await answer.send()
