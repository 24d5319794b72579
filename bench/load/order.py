"""What the load processes are ordered to send: files `order-<process>-<n>.json`, written by the driver."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.record.manifest import PlannedChat
from bench.workload.plan import Case, contender_of

SILENCE_DEADLINE_S = 20.0
ROOT = Path(__file__).parents[2]


class OrderedChat(PlannedChat, kw_only=True):
    """One chat of an order; `marker`, `stream` and `again` (its abort is repeated) override those of the order.

    `unknown`: no chat is started, and the abort is sent for an id that never existed.
    """

    request_id: str
    marker: str | None = None
    stream: bool | None = None
    again: bool = True
    unknown: bool = False
    to_other: bool = False  # sent to the order's second target


@dataclass(frozen=True)
class Other:
    """A second target of a load: its address, its values for templates, and the ids of the chats that it gets."""

    url: str
    values: Mapping[str, Any]
    chats: Collection[str]


class Order(msgspec.Struct, kw_only=True):
    """The chats of one case for one process, and what they have in common."""

    url: str  # of the target
    other_url: str = ""  # of a second one, which gets the chats that are `to_other`
    other_values: dict[str, Any] = {}
    target: dict[str, Any]  # the target file
    way: str  # the stop of it
    values: dict[str, Any]  # for its templates
    marker: str  # tells the mock how to answer
    stream: bool  # whether the answer is streamed
    witness: str | None = None  # URL of the mock: aborts are planned from its receipt of the chat
    frees_early: bool = False  # closed loop: the next chat starts when the abort was answered
    keep_text: bool = False  # record the beginning of the answer
    again_ms: float | None = None  # a second abort request after this time
    read_pause_ms: float = 0.0
    read_bytes: int | None = None
    silence_deadline_s: float
    at_once: int = 1  # aborts that are sent at one instant
    open_loop: bool = False
    start_ns: int = 0  # CLOCK_MONOTONIC, shortly ahead
    clock_offset_ns: int = 0  # witness's clock less that of the process
    streams: int = 0  # most chats of this process open at a time
    rows: str = ""  # file for the rows
    chats: list[OrderedChat] = []

    def of(self, chat: OrderedChat) -> Order:
        """The order as it is for one of its chats: with the target that the chat is sent to."""
        if not chat.to_other:
            return self
        return msgspec.structs.replace(self, url=self.other_url, values=self.values | self.other_values)


def order_of(case: Case, url: str, values: Mapping[str, Any], witness: str) -> Order:
    """What all chats of a case have in common.

    Stops of a foreign target are timed from the witness's receipt, and its clients go on after the stop: an answer
    that is not stopped would hold them for its whole length.
    """
    scenario, contender = case.scenario, contender_of(case)
    foreign = case.foreign is not None
    return Order(
        url=url,
        target=contender.target.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        way=contender.way,
        values={
            **contender.service_vars,
            "here": str(contender.file.parent.resolve()),
            **values,
            **contender.stop.vars,
        },
        marker=scenario.marker,
        stream=not scenario.whole,
        witness=witness if foreign else None,
        frees_early=foreign,
        again_ms=scenario.again_ms,
        read_pause_ms=scenario.read_pause_ms,
        read_bytes=scenario.read_bytes if scenario.read_pause_ms else None,
        silence_deadline_s=SILENCE_DEADLINE_S,
        at_once=scenario.at_once,
        open_loop=scenario.rate_per_s is not None,
    )


def locust_environment(scratch: Path) -> dict[str, str]:
    """The variables of a Locust process that starts in `scratch`."""
    # Locust also reads ~/.locust.conf, and locust.conf and pyproject.toml of the folder it is started in.
    return {"HOME": str(scratch), "PYTHONPATH": str(ROOT)}
