"""A small chat service: FastAPI and the OpenAI client."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from openai import AsyncOpenAI

app = FastAPI()
client = AsyncOpenAI()  # OPENAI_BASE_URL, OPENAI_API_KEY
running: dict[str, asyncio.Task[None]] = {}


@app.post("/chat")
async def chat(request: Request) -> StreamingResponse:
    message, run_id = (await request.json())["message"], uuid.uuid4().hex
    texts: asyncio.Queue[str | None] = asyncio.Queue()

    async def read() -> None:
        try:
            stream = await client.chat.completions.create(
                model="any", messages=[{"role": "user", "content": message}], stream=True
            )
            async with stream:
                async for chunk in stream:
                    if chunk.choices and (text := chunk.choices[0].delta.content):
                        texts.put_nowait(text)
        finally:
            running.pop(run_id, None)
            texts.put_nowait(None)

    async def events() -> AsyncIterator[str]:
        while (text := await texts.get()) is not None:
            yield f"data: {json.dumps({'delta': text})}\n\n"

    running[run_id] = asyncio.create_task(read())
    return StreamingResponse(events(), media_type="text/event-stream", headers={"X-Run-Id": run_id})


@app.post("/stop/{run_id}")
async def stop(run_id: str) -> JSONResponse:
    if (task := running.get(run_id)) is None:
        return JSONResponse({"stopped": False}, 404)
    task.cancel()
    return JSONResponse({"stopped": True})


# A comment.
