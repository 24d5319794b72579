"""Stops that are due at one instant leave in one go, and each learns what became of its own."""

from __future__ import annotations

from time import monotonic_ns
from typing import Any

import gevent
import pytest

from bench.load.chat import Volley


class Wire:
    """A socket that remembers who wrote what, and may be broken."""

    def __init__(self, *, broken: bool = False) -> None:
        self.sent: list[tuple[Any, bytes]] = []
        self._broken = broken

    def sendall(self, request: bytes) -> None:
        if self._broken:
            raise ConnectionResetError("gone")
        self.sent.append((gevent.getcurrent(), request))


def test_who_wakes_first_sends_all_that_are_due() -> None:
    volley, wires, due_ns = Volley(), [Wire() for _ in range(5)], monotonic_ns() + 20_000_000
    due = [due_ns, due_ns + 1000, due_ns + 60_000_000, due_ns, due_ns]
    wishes = [gevent.spawn(volley.send, moment, wire, b"%d" % moment) for moment, wire in zip(due, wires, strict=True)]
    gevent.joinall(wishes, raise_error=True)
    left = [each.value for each in wishes]
    assert all(sent >= moment for sent, moment in zip(left, due, strict=True)), "never early"
    assert [request for wire in wires for _, request in wire.sent] == [b"%d" % moment for moment in due], "each once"
    senders = [wire.sent[0][0] for wire in wires]
    assert senders[0] is senders[3] is senders[4]
    assert senders[2] is not senders[0]


def test_a_broken_connection_is_told_to_whose_it_is() -> None:
    volley, due_ns = Volley(), monotonic_ns() + 10_000_000
    good, bad, other = Wire(), Wire(broken=True), Wire()
    wishes = [gevent.spawn(volley.send, due_ns, wire, b"stop") for wire in (good, bad, other)]
    gevent.joinall(wishes)
    with pytest.raises(ConnectionResetError):
        wishes[1].get()
    assert wishes[0].get() >= due_ns
    assert wishes[2].get() >= due_ns
    assert len(good.sent) == len(other.sent) == 1
