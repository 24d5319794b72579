"""What the load processes are ordered to send: files `order-<process>-<n>.json`, written by the driver."""

from __future__ import annotations

import msgspec

from bench.record.manifest import PlannedChat


class OrderedChat(PlannedChat, kw_only=True):
    """One chat of an order."""

    request_id: str


class Order(msgspec.Struct, kw_only=True):
    """The chats of one case for one process, and what they have in common."""

    url: str  # of the service, or of the mock for the floor
    path: str
    marker: str  # tells the mock how to answer
    hangup: bool  # an abort is the client's disconnect
    again_ms: float | None  # a second abort request after this time
    read_pause_ms: float
    read_bytes: int | None
    silence_deadline_s: float
    at_once: int  # aborts that are sent at one instant
    open_loop: bool
    start_ns: int = 0  # CLOCK_MONOTONIC, shortly ahead
    streams: int = 0  # most chats of this process open at a time
    rows: str = ""  # file for the rows
    chats: list[OrderedChat] = []
