"""The API of the original description, in its three approaches: a set, a Redis key, a PostgreSQL row.

POST /chat/ answers text/plain and reads the flag before each chunk; POST /abort/ sets it. The description leaves open
how the upstream is closed: here the stream is closed as soon as the flag is seen. With APPROACH=memory each worker has
a set of its own, so an abort that another worker receives is answered with 404. Upstream: OPENAI_BASE_URL.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import asyncpg
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI
from pydantic import BaseModel
from redis.asyncio import Redis

TTL_S = 3600  # an id that its worker could not remove


class Flags(Protocol):
    """Which chats are live, and which of them are to be aborted."""

    async def start(self, request_id: str) -> None:
        """Add a live chat."""

    async def set(self, request_id: str) -> bool:
        """Ask for an abort; False when no such chat is live."""

    async def read(self, request_id: str) -> bool:
        """Whether an abort was asked for."""

    async def end(self, request_id: str) -> None:
        """Remove the chat and its flag."""


class Memory:
    """Two sets in the worker."""

    def __init__(self) -> None:
        self._live: set[str] = set()
        self._aborted: set[str] = set()

    async def start(self, request_id: str) -> None:
        self._live.add(request_id)

    async def set(self, request_id: str) -> bool:
        if request_id in self._live:
            self._aborted.add(request_id)
        return request_id in self._live

    async def read(self, request_id: str) -> bool:
        return request_id in self._aborted

    async def end(self, request_id: str) -> None:
        self._live.discard(request_id)
        self._aborted.discard(request_id)


class RedisKey:
    """One key for each chat."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def start(self, request_id: str) -> None:
        await self._redis.set(f"chat:{request_id}", "live", ex=TTL_S)

    async def set(self, request_id: str) -> bool:
        return bool(await self._redis.set(f"chat:{request_id}", "aborted", ex=TTL_S, xx=True))

    async def read(self, request_id: str) -> bool:
        return bool(await self._redis.get(f"chat:{request_id}") == b"aborted")

    async def end(self, request_id: str) -> None:
        await self._redis.delete(f"chat:{request_id}")


class PostgresRow:
    """One row for each chat."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def create(self) -> None:
        """Create the table; workers start at the same time, and CREATE TABLE IF NOT EXISTS does not lock."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(7)")
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS original_chats (id text PRIMARY KEY, aborted boolean DEFAULT false)"
            )

    async def start(self, request_id: str) -> None:
        await self._pool.execute("INSERT INTO original_chats (id) VALUES ($1)", request_id)

    async def set(self, request_id: str) -> bool:
        done = await self._pool.execute("UPDATE original_chats SET aborted = true WHERE id = $1", request_id)
        return bool(done == "UPDATE 1")

    async def read(self, request_id: str) -> bool:
        return bool(await self._pool.fetchval("SELECT aborted FROM original_chats WHERE id = $1", request_id))

    async def end(self, request_id: str) -> None:
        await self._pool.execute("DELETE FROM original_chats WHERE id = $1", request_id)


class Chat(BaseModel):
    """The body of POST /chat/."""

    model: str
    messages: list[dict[str, Any]]
    request_id: str


class Abort(BaseModel):
    """The body of POST /abort/."""

    request_id: str


@asynccontextmanager
async def _stores(app: FastAPI) -> AsyncIterator[None]:
    approach = os.environ["APPROACH"]
    async with AsyncOpenAI(max_retries=0) as app.state.upstream:
        if approach == "memory":
            app.state.flags = Memory()
            yield
        elif approach == "redis":
            async with Redis.from_url(os.environ["REDIS_URL"]) as redis:
                app.state.flags = RedisKey(redis)
                yield
        else:
            async with asyncpg.create_pool(os.environ["POSTGRES_URL"], min_size=1, max_size=20) as pool:
                app.state.flags = PostgresRow(pool)
                await app.state.flags.create()
                yield


app = FastAPI(lifespan=_stores)


@app.get("/health")
async def health() -> str:
    """Answer that the service is up."""
    return "ok"


@app.post("/chat/")
async def chat(body: Chat) -> StreamingResponse:
    """Stream the answer's text until it ends or its flag is set."""
    flags: Flags = app.state.flags
    await flags.start(body.request_id)

    async def answer() -> AsyncIterator[str]:
        messages: Any = body.messages
        try:
            stream = await app.state.upstream.chat.completions.create(model=body.model, messages=messages, stream=True)
            async with stream:
                async for chunk in stream:
                    if await flags.read(body.request_id):
                        return
                    if chunk.choices and (text := chunk.choices[0].delta.content):
                        yield text
        finally:
            await flags.end(body.request_id)

    return StreamingResponse(answer(), media_type="text/plain")


@app.post("/abort/")
async def abort(body: Abort) -> dict[str, str]:
    """Set the chat's flag."""
    if not await app.state.flags.set(body.request_id):
        raise HTTPException(404, "Request ID not found")
    return {"message": f"Streaming for request {body.request_id} will be aborted."}
