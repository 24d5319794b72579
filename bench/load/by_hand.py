"""The locustfile of Locust's web UI: each scenario is a user class, and every chat leaves a row as in a run.

`CHATS_BY_HAND` names a folder with an order per scenario, `<scenario>.json`. Its chats are used one after the other
and again from the first. At the end the process writes the health of its event loop to `done.json`.
"""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from locust import User, constant, events

from bench.load.chat import Chat, Volley
from bench.load.loop_lag import LoopProbe
from bench.load.order import Order
from bench.load.script import script_of
from bench.record.base import decode, encode_line
from bench.record.files import replace_file
from bench.record.schema import AbortSide, ClientSide
from bench.record.traces import LoadAnswer

FOLDER = Path(os.environ["CHATS_BY_HAND"])
LABEL = "as Locust saw it"
"""The type of every row of the web UI: its figures are the client's, those of the report are the witness's."""


class ChatUser(User):
    """A client that sends one chat of its scenario after the other."""

    abstract = True
    wait_time = constant(0)
    order: Order
    numbers: count[int]
    volley: Volley

    def one_chat(self) -> None:
        """Send the next chat, write its row, and report it to Locust."""
        order, number = self.order, next(self.numbers)
        planned = order.chats[number % len(order.chats)]
        planned = msgspec.structs.replace(
            planned, index=number, request_id=f"{planned.request_id}-{number}", at_ms=None
        )
        chat = Chat(order, script_of(order), planned, None, self.volley)
        chat.run()
        with Path(order.rows).open("ab", buffering=0) as rows:
            rows.write(encode_line(chat.row))
        for what, ms, problem in seen(chat.client, chat.abort):
            self.environment.events.request.fire(
                request_type=LABEL, name=f"{type(self).__name__}: {what}", response_time=ms, response_length=0,
                exception=None if problem is None else RuntimeError(problem), context={},
            )  # fmt: skip

    tasks = [one_chat]  # noqa: RUF012 - Locust's way


def seen(client: ClientSide, abort: AbortSide | None) -> list[tuple[str, float, str | None]]:
    """What a client saw of a chat: name, ms, and what went wrong."""
    sent_ns, end_ns = client.sent_ns or 0, client.end_ns or 0
    if client.error is not None or not sent_ns:
        return [("chat", 0.0, client.error or "not sent")]
    found: list[tuple[str, float, str | None]] = []
    if client.token_ns:
        found.append(("TTFT", (client.token_ns[0] - sent_ns) / 1e6, None))
    if abort is not None and abort.sent_ns is not None:
        if abort.ack_ns is not None:
            refused = abort.error or (None if abort.accepted_sent_ns else f"HTTP {abort.status}")
            found.append(("Stop answered", (abort.ack_ns - abort.sent_ns) / 1e6, refused))
        found.append(("end after Stop", max(0.0, (end_ns - abort.sent_ns) / 1e6), None))
    return [*found, ("chat", (end_ns - sent_ns) / 1e6, None)]


for _path in sorted(FOLDER.glob("*.json")):
    _name = _path.stem
    globals()[_name] = type(
        _name,
        (ChatUser,),
        {"order": decode(_path.read_bytes(), Order, _path.name), "numbers": count(), "volley": Volley()},
    )

_probe = LoopProbe()


@events.init.add_listener  # type: ignore[untyped-decorator]
def _begin(**_: Any) -> None:
    _probe.__enter__()
    (FOLDER / "awake").touch()


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _end(**_: Any) -> None:
    _probe.__exit__()
    replace_file(FOLDER / "done", encode_line(LoadAnswer([], _probe.health())))
