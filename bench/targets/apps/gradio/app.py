"""A ChatInterface; its checkbox chooses whether the upstream is asked for a stream."""

import os
from collections.abc import AsyncIterator

import gradio as gr
from openai import AsyncOpenAI

client = AsyncOpenAI(max_retries=0)


async def talk(message: str, _history: list, stream: bool) -> AsyncIterator[str]:
    """Yield the answer so far."""
    ask = {"model": "mock-gpt", "messages": [{"role": "user", "content": message}]}
    if not stream:
        whole = await client.chat.completions.create(**ask)
        yield whole.choices[0].message.content
        return
    text = ""
    async with await client.chat.completions.create(**ask, stream=True) as chunks:
        async for chunk in chunks:
            if chunk.choices and (delta := chunk.choices[0].delta.content):
                text += delta
                yield text


# The default of both limits is one chat at a time.
limit = int(os.environ["STREAMS"])
demo = gr.ChatInterface(
    talk, additional_inputs=[gr.Checkbox(value=True, label="stream")], concurrency_limit=limit, api_name="chat"
)
demo.queue(default_concurrency_limit=limit).launch(
    server_name="127.0.0.1", server_port=int(os.environ["PORT"]), share=False, quiet=True, show_error=True
)
