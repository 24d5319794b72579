"""The limit on chat starts of one owner, alone and in the service."""

import pytest

from server import start_rate
from server.start_rate import StartRate
from tests.server.harness import CHUNK, Client, stage


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now_s = [1000.0]
    monkeypatch.setattr(start_rate, "monotonic", lambda: now_s[0])
    return now_s


def test_a_burst_of_one_second_and_then_the_rate(clock: list[float]) -> None:
    rate = StartRate(10)
    assert [rate.take("a") for _ in range(10)] == [0.0] * 10
    assert rate.take("a") == pytest.approx(0.1)
    assert rate.take("a") == pytest.approx(0.1)  # a refused start costs nothing
    assert rate.take("b") == 0.0  # each owner has its own
    clock[0] += 0.101
    assert rate.take("a") == 0.0
    assert rate.take("a") > 0
    clock[0] += 60
    assert sum(rate.take("a") == 0.0 for _ in range(20)) == 10  # an idle owner saves up one second


def test_less_than_one_per_second(clock: list[float]) -> None:
    rate = StartRate(0.1)
    assert rate.take("a") == 0.0
    assert rate.take("a") == pytest.approx(10)
    clock[0] += 10.001
    assert rate.take("a") == 0.0


def test_no_limit() -> None:
    rate = StartRate(0)
    assert {rate.take("a") for _ in range(10_000)} == {0.0}


async def test_a_chat_above_the_rate_is_refused_before_anything_is_opened_for_it() -> None:
    async with stage(chat_starts_per_owner_s=0.2) as scene:
        scene.store.free.set()
        first = Client(lambda _: None)
        scene.worker.start_rate.take("me")
        await scene.chat(first)
        assert first.status == 429
        assert first.headers["retry-after"] == "5"
        assert b"CHAT_STARTS_PER_OWNER_S" in first.body
        assert not scene.upstream.connections
        assert not scene.store.asked.is_set()
        assert scene.worker.live == 0
        assert not scene.worker.chats
    assert CHUNK not in first.body
