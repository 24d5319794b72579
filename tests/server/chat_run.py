"""One chat under way in this process, and what upstreams send."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server.http.request_guard import ABORT_CONNECTION
from server.relay.chat import ChatResponse
from server.sse import format_event
from tests.server.harness import Client, Connection, Stage, make_chat

STREAMED = ["chat", "text", "v1"]
EVENTS = ["chat", "v1"]
STOP = format_event({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
ROLE = format_event({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
USAGE = format_event({"id": "c", "choices": [], "usage": {"total_tokens": 3}})
ERROR = {"message": "the model is overloaded", "code": 429}


@dataclass
class Run:
    """One chat under way."""

    scene: Stage
    client: Client
    response: ChatResponse
    task: asyncio.Task[None]
    broken: bool = False  # the connection to the client was broken off

    @property
    def reason(self) -> str | None:
        return self.response._trace.finish_reason

    async def over(self) -> None:
        async with asyncio.timeout(10):
            await self.task
        assert self.scene.worker.delivery.live == 0  # the id is free

    def text_or(self, text: bytes, events: bytes) -> bytes:
        return text if self.response._reply.as_text else events


def begin(scene: Stage, kind: str, on_body: Callable[[bytes], object] = lambda _body: None, **body: Any) -> Run:
    scene.store.free.set()
    response, client = make_chat(scene, kind, **body), Client(on_body)
    run: Run

    def abort_connection(_timeout_s: float) -> None:
        run.broken = True

    scope = {"type": "http", ABORT_CONNECTION: abort_connection}
    run = Run(scene, client, response, asyncio.create_task(response(scope, client.receive, client.send)))
    return run


async def answered(scene: Stage, kind: str, *parts: bytes, **body: Any) -> Run:
    """A chat that the upstream answers with these, and then holds its stream open."""
    run = begin(scene, kind, **body)
    (await scene.upstream.asked()).answer(*parts)
    return run


async def left(scene: Stage) -> None:
    async with asyncio.timeout(10):
        await scene.upstream.connections[0].left.wait()


def error_event(error: dict[str, Any], name: str = "error") -> bytes:
    return format_event({"error": {"code": None, "param": None, "type": "upstream_error"} | error}, name)


def same_error(body: bytes, error: dict[str, Any]) -> bool:
    given = json.loads(body)["error"]
    return {name: given[name] for name in error} == error


async def started(scene: Stage, kind: str) -> tuple[Run, Connection]:
    """A chat whose headers have been sent while the upstream is silent."""
    run = begin(scene, kind)
    upstream = await scene.upstream.asked()
    async with asyncio.timeout(10):
        await run.client.started.wait()
    return run, upstream
