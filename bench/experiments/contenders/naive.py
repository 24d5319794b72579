"""The relay of the tutorials: FastAPI and the openai client, every chunk parsed, its text sent on.

It cannot stop a chat; it shows the cost of parsing. Upstream: OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI
from pydantic import BaseModel

app = FastAPI()
client = AsyncOpenAI()


class ChatRequest(BaseModel):
    """The request of a tutorial."""

    model: str
    messages: list[dict[str, Any]]


@app.post("/chat/")
async def chat(request: ChatRequest) -> StreamingResponse:
    """Stream the answer's text."""

    async def answer() -> AsyncIterator[str]:
        messages: Any = request.messages
        stream = await client.chat.completions.create(model=request.model, messages=messages, stream=True)
        async for chunk in stream:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                yield text

    return StreamingResponse(answer(), media_type="text/plain")


def _serve() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    sys.stdout.write(f"ready http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    _serve()
