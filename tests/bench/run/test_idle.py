"""What idling costs: counters looked at twice while streams are held silent; the streams are real."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from bench.run import idle
from bench.run.idle import measure_idle
from bench.run.subject import Side, service_of
from bench.system.http import AnswerError, held_open, request_json
from bench.system.procs import Child
from bench.system.stores import open_store
from tests.conftest import namespace
from tests.processes import running


class Service:
    """A service that uses a tenth of a core."""

    url = ""

    def cpu_s(self) -> float:
        return time.monotonic() / 10


class Store:
    """A store that is asked a thousand times a second, at no cost that anybody could see."""

    kind = "redis"

    def ops(self) -> int:
        return int(time.monotonic() * 1000)

    def cpu_s(self) -> None:
        return None


def test_what_happens_in_a_second_of_silence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Any] = []

    def hold(*told: Any) -> contextlib.AbstractContextManager[None]:
        held.append(told)
        return contextlib.nullcontext()

    monkeypatch.setattr(idle, "held_open", hold)
    service: Any = Service()
    store: Any = Store()
    found = measure_idle(service, store, streams=7, window_s=0.1)
    assert [told[1] for told in held] == [7]
    assert (found.streams, found.window_s, found.idle_store_cpu_ms_per_s) == (7, 0.1, None)
    assert found.idle_ops_per_s == pytest.approx(1000, rel=0.1)
    assert found.idle_cpu_ms_per_s == pytest.approx(100, rel=0.1)
    assert measure_idle(service, None, window_s=0.01).idle_ops_per_s is None


def test_streams_are_live_and_silent_within_the_block_and_gone_after_it() -> None:
    with running("mock_llm", "serve", "--port", "0") as mock:
        url = f"{mock.url}/v1"
        with running(
            "bench.experiments.contenders.calibrated", OPENAI_BASE_URL=url, OPENAI_API_KEY="unused"
        ) as service:
            with held_open(service.url, 5, idle.SILENT):
                rows = request_json(mock.url, "/__mock/journal")["rows"]
                assert [row["outcome"] for row in rows] == ["open"] * 5
            while any(row["outcome"] == "open" for row in rows):
                rows = request_json(mock.url, "/__mock/journal")["rows"]
            assert [row["outcome"] for row in rows] == ["cut"] * 5
        with pytest.raises(AnswerError, match="404"), held_open(mock.url, 1, idle.SILENT):
            pass


@pytest.mark.parametrize(("strategy", "least", "most"), [("redis-timer", 10, 24), ("postgres-push", 0, 1)])
def test_what_registering_the_chats_cost_is_no_cost_of_waiting(
    strategy: str, least: float, most: float, tmp_path: Path
) -> None:
    """A timer reads ten times a second on each of two workers (less often on a busy machine); a push sends a heartbeat
    every 3 s.
    """
    store_name = strategy.split("-", maxsplit=1)[0]
    with (
        open_store(store_name) as store,
        Child("mock_llm", ["mock_llm", "serve", "--port", "0"], tmp_path / "mock.log") as mock,
        service_of(
            strategy,
            2,
            side=Side(),
            store=store,
            namespace=namespace("idle"),
            mock=mock,
            traces=tmp_path / "traces",
            log=tmp_path / "server.log",
        ) as service,
    ):
        found = measure_idle(service, store).idle_ops_per_s
        assert found is not None
        assert least <= found <= most
