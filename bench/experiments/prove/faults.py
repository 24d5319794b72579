"""The commits that the gate must find, each a few lines added to the service; and one that it must not find."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STOP_TIMES = ("upstream_stop_ms", "client_stop_ms", "abort_ack_ms")
DOCS = "README.md"
APP, BACKENDS = "server/app.py", "backends/__init__.py"


class FaultError(Exception):
    """The service's code has changed, so that a fault no longer fits; the message is one line."""


@dataclass(frozen=True)
class Fault:
    """One fault: `code` is added at the end of `file` (in the checkout), which must hold `anchor`.

    It replaces what has a fixed name, so that it does not depend on how the code within is written. `shown_by`: the
    rules and metrics of which one at least must make the gate say worse. `needs`: words that the names of the
    strategies must contain for the fault to show at all; `needs_scenario`: the scenario in which it shows, if in one
    only.
    """

    name: str
    sentence: str
    file: str
    anchor: str
    code: str
    shown_by: tuple[str, ...]
    needs: str
    needs_scenario: str = ""

    def apply(self, checkout: Path) -> None:
        """Edit the checkout. Raises FaultError."""
        path = checkout / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if self.anchor not in text:
            where = f"no {self.anchor!r} in {self.file}, which it needs"
            raise FaultError(f"the fault {self.name!r} finds {where}: mend it in bench/experiments/prove/faults.py")
        path.write_text(text + self.code, encoding="utf-8")


DELAY = """

import asyncio as _asyncio

_abort = Delivery.abort


async def _late_abort(self, *arguments, **options):
    await _asyncio.sleep(0.005)
    return await _abort(self, *arguments, **options)


Delivery.abort = _late_abort
"""
POLL = """

_from_url = from_url


def from_url(url, *arguments, **options):
    return _from_url(url.replace("+push://", "+poll://", 1), *arguments, **options)
"""
DROP = """

import secrets as _secrets

_abort = Delivery.abort


async def _lossy_abort(self, *arguments, **options):
    if _secrets.randbelow(100) == 0:
        return AbortOutcome.ACCEPTED
    return await _abort(self, *arguments, **options)


Delivery.abort = _lossy_abort
"""
ASK = """

import contextlib as _contextlib

from backends.base import Chat as _Chat

_watch = Delivery.watch


@_contextlib.asynccontextmanager
async def _asking_watch(self, request_id, owner):
    async with _watch(self, request_id, owner) as signal:
        await self.store.states([_Chat(request_id, "0", owner, self.worker)])
        yield signal


Delivery.watch = _asking_watch
"""
WRAP = """

_create_{name} = create_app


class _{name}:
    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        {body}


def create_app(settings=None):
    app = _create_{name}(settings)
    app.add_middleware(_{name})
    return app
"""
BURN = WRAP.format(
    name="Burn",
    body="""import time

        def burning(send):
            async def burn(message):
                if message["type"] == "http.response.body":
                    until_ns = time.thread_time_ns() + 100_000
                    while time.thread_time_ns() < until_ns:
                        pass
                await send(message)

            return burn

        if "stopwatch.send" in scope:  # the way of the chunks, past every middleware
            scope["stopwatch.send"] = burning(scope["stopwatch.send"])
        await self._app(scope, receive, burning(send))""",
)
LEAK = WRAP.format(
    name="Deaf",
    body="""async def deaf():
            message = await receive()
            if message["type"] == "http.disconnect":
                await asyncio.Event().wait()
            return message

        await self._app(scope, deaf, send)""",
)

FAULTS = (
    Fault("delay", "adds 5 ms to the stop path", BACKENDS, "Delivery", DELAY, STOP_TIMES, "-push"),
    Fault(
        "poll",
        "polls instead of pushing",
        BACKENDS,
        "def from_url(",
        POLL,
        ("upstream_stop_ms", "client_stop_ms", "wasted_tokens"),
        "-push",
    ),
    Fault("drop", "drops 1 % of aborts", BACKENDS, "AbortOutcome", DROP, ("missed",), "-push"),
    Fault("leak", "leaks the upstream on disconnect", APP, "def create_app(", LEAK, ("missed", "leaked"), "disconnect"),
    Fault(
        "burn",
        "burns 0.1 ms of CPU time per chunk",
        APP,
        "def create_app(",
        BURN,
        ("server_cpu_us_per_token", "unhealthy_blocks"),
        "",
        "steady",
    ),
    Fault(
        "ask",
        "asks the store once more per chat",
        BACKENDS,
        "Delivery",
        ASK,
        ("store_ops_per_chat", "store_ops_per_token"),
        "-push",
        "steady",
    ),
)


def change_docs(checkout: Path) -> None:
    """A change that no stop can notice."""
    with (checkout / DOCS).open("a", encoding="utf-8") as text:
        text.write("\nOne more sentence.\n")
