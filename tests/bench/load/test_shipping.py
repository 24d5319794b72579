"""Rows that are shipped over a bad connection: none is lost, and none arrives twice."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
import pytest

from bench.load.fleet.shipping import RECEIPT, ROWS_PER_BATCH, Channel, batches, ship


class BadConnection:
    """Two channels; every message is lost, repeated or delayed by the dice."""

    def __init__(self, seed: int, *, lost: float = 0.0, repeated: float = 0.0, late: float = 0.0) -> None:
        self._dice = random.Random(seed)
        self._lost, self._repeated, self._late = lost, repeated, late
        self.delivered: list[tuple[str, bytes]] = []
        self.worker = Channel(lambda *message: self._carry(self.master, *message), self._none, again_s=0.02)
        self.master = Channel(lambda *message: self._carry(self.worker, *message), self._deliver, again_s=0.02)

    def _deliver(self, kind: str, body: bytes) -> None:
        self.delivered.append((kind, body))

    def _none(self, kind: str, body: bytes) -> None:
        raise AssertionError(f"the worker was sent {kind} {body!r}")

    def _carry(self, to: Channel, name: str, message: dict[str, Any]) -> None:
        if self._dice.random() < self._lost:
            return
        for _ in range(1 + (self._dice.random() < self._repeated)):
            after_s = 0.03 * self._dice.random() if self._dice.random() < self._late else 0.0
            gevent.spawn_later(after_s, to.acknowledge if name == RECEIPT else to.receive, message)

    @property
    def rows(self) -> list[bytes]:
        return [line for kind, body in self.delivered if kind == "rows" for line in body.splitlines()]


def rows_in(folder: Path, number: int) -> Path:
    path = folder / "rows.jsonl"
    path.write_bytes(b"".join(b'{"index": %d}\n' % each for each in range(number)))
    return path


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "fault", [{}, {"lost": 0.3}, {"repeated": 0.5}, {"late": 0.8}, {"lost": 0.2, "repeated": 0.3, "late": 0.5}]
)
def test_every_row_arrives_once(tmp_path: Path, fault: dict[str, float], seed: int) -> None:
    path, connection = rows_in(tmp_path, 10_250), BadConnection(seed, **fault)
    with gevent.Timeout(20):
        assert ship(path, connection.worker) == 10_250
    assert sorted(connection.rows) == sorted(path.read_bytes().splitlines())
    assert connection.worker.resent or "lost" not in fault


def test_what_is_sent_after_the_rows_arrives_after_all_of_them(tmp_path: Path) -> None:
    connection = BadConnection(1, lost=0.3, late=0.5)
    with gevent.Timeout(20):
        ship(rows_in(tmp_path, 5_000), connection.worker)
        connection.worker.send("answer", b"{}")
    assert connection.delivered[-1] == ("answer", b"{}")
    assert Counter(kind for kind, _ in connection.delivered) == {"rows": 10, "answer": 1}


def test_what_could_not_be_written_comes_again() -> None:
    full = [True]
    got: list[bytes] = []
    receipts: list[Any] = []

    def deliver(_kind: str, body: bytes) -> None:
        if full:
            raise OSError("no space left")
        got.append(body)

    sent: list[dict[str, Any]] = []
    sender = Channel(lambda _name, message: sent.append(message), deliver, again_s=0.01)
    receiver = Channel(lambda name, message: receipts.append((name, message)), deliver)
    sending = gevent.spawn(sender.send, "rows", b"a row")
    gevent.sleep(0)
    with pytest.raises(OSError, match="no space left"):
        receiver.receive(sent[0])
    assert not receipts, "a batch that is not on disk is not acknowledged"
    full.clear()
    for _ in range(2):
        receiver.receive(sent[0])
    sender.acknowledge(receipts[0][1])
    sending.join(10)
    assert sending.successful()
    assert got == [b"a row"]


def test_an_acknowledgement_that_comes_twice_or_too_late_is_ignored() -> None:
    Channel(lambda *_: None, lambda *_: None).acknowledge({"number": 7})


def test_a_batch_is_whole_lines(tmp_path: Path) -> None:
    assert [lines for _, lines in batches(rows_in(tmp_path, 2 * ROWS_PER_BATCH + 1))] == [ROWS_PER_BATCH] * 2 + [1]
    assert not list(batches(rows_in(tmp_path, 0)))
