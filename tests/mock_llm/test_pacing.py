"""Deadlines and the pacer without a server: seeded, absolute, fair, and never early even if the timer is."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from random import Random
from statistics import mean
from time import monotonic_ns
from typing import Any

import pytest

from mock_llm.pacing import Pacer, deadlines
from mock_llm.settings import Dist, ReplySettings


class Recorder:
    """Fires at its deadlines and records the delay of each."""

    def __init__(self, due_ns: list[int], done: asyncio.Event) -> None:
        self.due_ns = due_ns
        self.late_ns: list[int] = []
        self.done = done

    def fire(self) -> int | None:
        self.late_ns.append(monotonic_ns() - self.due_ns[len(self.late_ns)])
        if len(self.late_ns) == len(self.due_ns):
            self.done.set()
            return None
        return self.due_ns[len(self.late_ns)]


class EarlyLoop:
    """A loop whose timers fire too early."""

    def __init__(self) -> None:
        self.calls = 0

    def call_soon(self, callback: Callable[[], None]) -> asyncio.Handle:
        return asyncio.get_running_loop().call_soon(callback)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self.calls += 1
        return asyncio.get_running_loop().call_later(delay_s / 3, callback)


async def test_never_early_even_when_the_timer_is() -> None:
    loop: Any = EarlyLoop()
    pacer, start = Pacer(loop), monotonic_ns()
    recorders = [
        Recorder([start + 3_000_000 * step + 700_000 * number for step in range(1, 8)], asyncio.Event())
        for number in range(5)
    ]
    for recorder in reversed(recorders):  # each one due earlier than what is armed
        pacer.at(recorder.due_ns[0], recorder)
    for recorder in recorders:
        await recorder.done.wait()
        assert min(recorder.late_ns) >= 0
    assert loop.calls > 5


async def test_a_burst_does_not_block_the_loop() -> None:
    pacer, between = Pacer(asyncio.get_running_loop()), []
    now = monotonic_ns()
    recorders = [Recorder([now], asyncio.Event()) for _ in range(1000)]
    for recorder in recorders:
        pacer.at(now, recorder)
    while not recorders[-1].done.is_set():
        between.append(sum(recorder.done.is_set() for recorder in recorders))
        await asyncio.sleep(0)
    assert len(between) > 1000 / 100
    assert all(recorder.late_ns for recorder in recorders)


async def test_an_error_in_one_stream_does_not_stop_the_others() -> None:
    class Broken:
        def fire(self) -> int | None:
            raise RuntimeError("broken stream")

    loop, seen = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _loop, context: seen.append(str(context.get("exception"))))
    pacer, now = Pacer(loop), monotonic_ns()
    fine = Recorder([now + 1_000_000, now + 2_000_000], asyncio.Event())
    pacer.at(now, Broken())
    pacer.at(fine.due_ns[0], fine)
    await asyncio.wait_for(fine.done.wait(), 5)
    assert seen == ["broken stream"]


@pytest.mark.parametrize("dist", list(Dist))
def test_distributions_have_the_requested_mean(dist: Dist) -> None:
    reply = ReplySettings(ttft_ms=40, itl_ms=10, ttft_dist=dist, itl_dist=dist)
    due = deadlines(reply, 20_000, 0, Random(3))
    assert mean(b - a for a, b in pairwise(due[:-1])) / 1e6 == pytest.approx(10, rel=0.03)
    firsts = [deadlines(reply, 1, 0, Random(seed))[0] for seed in range(3000)]
    assert mean(firsts) / 1e6 == pytest.approx(40, rel=0.06)
    assert deadlines(reply, 20_000, 0, Random(3)) == due
    assert (deadlines(reply, 20_000, 0, Random(4)) == due) == (dist is Dist.CONSTANT)
    assert list(due) == sorted(due)


@pytest.mark.parametrize(
    ("stall_at", "expected_ms"),
    [
        (None, [5, 7, 9, 9]),
        (0, [105, 107, 109, 109]),
        (2, [5, 7, 109, 109]),
        (3, [5, 7, 9, 109]),  # after the last token: delays only the end
        (4, [5, 7, 9, 9]),
    ],
)
def test_position_of_a_stall(stall_at: int | None, expected_ms: list[int]) -> None:
    reply = ReplySettings(ttft_ms=5, itl_ms=2, stall_at=stall_at, stall_ms=100)
    assert [due / 1e6 for due in deadlines(reply, 3, 0, Random(1))] == expected_ms


@pytest.mark.parametrize(
    ("headers_ms", "expected_ms"), [(0, [5, 7, 7]), (3, [5, 7, 7]), (5, [5, 7, 7]), (40, [40, 42, 42])]
)
def test_no_token_is_due_before_the_headers(headers_ms: float, expected_ms: list[int]) -> None:
    reply = ReplySettings(headers_ms=headers_ms, ttft_ms=5, itl_ms=2)
    assert [due / 1e6 for due in deadlines(reply, 2, 0, Random(1))] == expected_ms


def test_no_time_between_tokens() -> None:
    assert set(deadlines(ReplySettings(ttft_ms=1, itl_ms=0), 50, 0, Random(1))) == {1_000_000}
