"""Messages over a connection that may lose, repeat or reorder them: numbered, acknowledged, delivered once."""

import zlib
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from gevent.event import Event
from gevent.pool import Pool

PARCEL, RECEIPT = "load_parcel", "load_receipt"
"""The names of the messages. Locust swallows those that have a name of its own, such as `ack`."""
AGAIN_S = 1.0
ROWS_PER_BATCH = 500
WINDOW = 4
"""Batches on the way at a time: ZeroMQ drops what its queue does not hold."""
Transmit = Callable[[str, dict[str, Any]], None]


class Channel:
    """One side of a connection. `transmit` sends a message, and may lose it; `deliver` gets each kind and body once.

    Pass what is received as PARCEL to `receive` and as RECEIPT to `acknowledge`. `deliver` must not block; what it
    raises is raised by `receive`, and the message then comes again.
    """

    def __init__(self, transmit: Transmit, deliver: Callable[[str, bytes], None], again_s: float = AGAIN_S) -> None:
        self._transmit, self._deliver, self._again_s = transmit, deliver, again_s
        self._numbers = count()
        self._waiting: dict[int, Event] = {}
        self._delivered: set[int] = set()
        self.resent = 0

    def send(self, kind: str, body: bytes = b"") -> None:
        """Send, and again until the receipt has arrived."""
        number, received = next(self._numbers), Event()
        self._waiting[number] = received
        message = {"number": number, "kind": kind, "body": zlib.compress(body, 1)}
        self._transmit(PARCEL, message)
        while not received.wait(self._again_s):
            self.resent += 1
            self._transmit(PARCEL, message)
        del self._waiting[number]

    def receive(self, message: dict[str, Any]) -> None:
        """Deliver a message unless it was delivered, and acknowledge it."""
        if message["number"] not in self._delivered:
            self._deliver(message["kind"], zlib.decompress(message["body"]))
            self._delivered.add(message["number"])
        self._transmit(RECEIPT, {"number": message["number"]})

    def acknowledge(self, message: dict[str, Any]) -> None:
        """A receipt has arrived."""
        if received := self._waiting.get(message["number"]):
            received.set()


def batches(rows: Path) -> Iterator[tuple[bytes, int]]:
    """The lines of a file in batches, each with its number of lines."""
    with rows.open("rb") as lines:
        while batch := list(islice(lines, ROWS_PER_BATCH)):
            yield b"".join(batch), len(batch)


def ship(rows: Path, channel: Channel) -> int:
    """Send a file of rows as messages `rows`. Returns their number when all have been acknowledged."""
    pool, sent = Pool(WINDOW), 0
    for batch, lines in batches(rows):
        pool.spawn(channel.send, "rows", batch)
        sent += lines
    pool.join(raise_error=True)
    return sent
