"""What the Python programs share: the task on the command line, and the one JSON line of what the client saw.

python -m tests.clients.programs.use_openai BASE_URL MODE STOP HEADER CHAT_ID QUESTION [VARIANT]

MODE   `stream` or `whole`
STOP   `client`: the program stops its chat itself, a stream after PIECES pieces, a whole answer when a line arrives
       on standard input. `none`: it reads to the end, also when somebody else sends `POST /abort/`.
HEADER the header that names the chat, CHAT_ID its value

Standard library only: this file runs in every client's environment.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
MODEL = "mock-gpt"
PIECES = 5
_MESSAGE_CHARACTERS = 300


@dataclass
class Seen:
    """What the client saw; the fields of the JSON line."""

    pieces: int = 0
    """Pieces of text; 1 for a whole answer that is not empty."""
    finish: str | None = None
    """Why the answer ended, in the client's own word."""
    usage: int | None = None
    """Completion tokens, where the client reports them."""
    aborted: bool | None = None
    """The service's extension field, where the client lets its user see it."""
    error: dict[str, Any] | None = None
    stopped_ns: int | None = None
    """CLOCK_MONOTONIC, when the client began to stop its own chat."""


@dataclass
class Task:
    """One chat to hold, and how it is stopped."""

    base_url: str
    mode: str
    stop: str
    header: str
    chat_id: str
    question: str
    variant: str = ""
    seen: Seen = field(default_factory=Seen, init=False)
    _kept: list[object] = field(default_factory=list, init=False)

    @property
    def streamed(self) -> bool:
        """Whether the answer is to be streamed."""
        return self.mode == "stream"

    @property
    def headers(self) -> dict[str, str]:
        """Names the chat."""
        return {self.header: self.chat_id}

    def keep(self, client: T) -> T:
        """Keep the client open until the journal was read: closing it would close the upstream as well."""
        self._kept.append(client)
        return client

    def piece(self, text: str | None) -> bool:
        """Count a piece of text; True when the program has to stop its stream now."""
        self.seen.pieces += bool(text)
        stops = bool(text) and self.stop == "client" and self.seen.pieces == PIECES
        if stops:
            self.seen.stopped_ns = time.monotonic_ns()
        return stops

    async def whole(self, asking: Awaitable[T]) -> T | None:
        """Await a whole answer; None when the program had to cancel it."""
        answer = asyncio.ensure_future(asking)
        if self.stop == "client":
            await asyncio.to_thread(sys.stdin.readline)
            self.seen.stopped_ns = time.monotonic_ns()
            answer.cancel()
        try:
            return await answer
        except asyncio.CancelledError:
            return None


def describe(error: BaseException) -> dict[str, Any]:
    """Return an exception's type, and its HTTP status and the service's error code where it carries them."""
    body = getattr(error, "body", None)
    status = getattr(error, "status_code", None)
    return {
        "type": type(error).__name__,
        "status": status if isinstance(status, int) else None,
        "code": getattr(error, "code", None) or (body.get("code") if isinstance(body, dict) else None),
        "message": str(error)[:_MESSAGE_CHARACTERS],
    }


def run(use: Callable[[Task], Awaitable[None]]) -> None:
    """Do the task, print what was seen, and stay with all connections open until standard input ends."""
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not be taken for our line
    asyncio.run(_run(use, out))


async def _run(use: Callable[[Task], Awaitable[None]], out: int) -> None:
    task = Task(*sys.argv[1:])
    try:
        await use(task)
    except Exception as error:  # the exception is part of what the client saw
        task.seen.error = describe(error)
    os.write(out, json.dumps(asdict(task.seen)).encode() + b"\n")
    await asyncio.to_thread(sys.stdin.read)
