"""The relay benchmark: each contender relays, the load counts and times its chunks, and the ratios are per round."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bench.relay_load import Load, _run
from bench.relay_report import CONTENDERS, summarise, write
from bench.relay_turns import Stage, hold_and_stop, order, stage, take_turn


@pytest.fixture(scope="module")
def on() -> Any:
    with stage() as opened:
        yield opened


@pytest.mark.parametrize("name", ["bare", "naive", "redis-push"])
def test_a_contender_relays_all_that_is_offered(on: Stage, name: str) -> None:
    sample = take_turn(on, name, streams=10, itl_ms=20, window_s=1)
    assert sample["contender"] == name
    assert sample["errors"] == 0
    assert sample["chunks_per_s"] == pytest.approx(500, rel=0.1)
    assert sample["added_itl_ms"]["p50"] == pytest.approx(0, abs=5)
    assert 0 < sample["cpu_us_per_chunk"] < 5000


def test_all_held_streams_end_when_all_are_stopped(on: Stage) -> None:
    held = hold_and_stop(on, streams=30)
    assert held["errors"] == held["unstopped"] == 0
    assert held["upstreams_cut"] == 30
    assert 0 < held["upstream_stop_ms"]["p50"] <= held["upstream_stop_ms"]["max"]
    assert 0 < held["client_stop_ms"]["p50"] <= held["client_stop_ms"]["max"]


async def test_streams_that_are_refused_are_errors_and_not_chunks() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 503 Busy\r\ncontent-length: 22\r\n\r\n"delta":{"content":"no"')
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await _run(Load(port, streams=3, itl_ms=20, window_s=0.1, ramp_s=0.1))
    assert result["errors"] == 3
    assert result["chunks"] == 0


def test_no_contender_has_a_fixed_neighbour() -> None:
    rounds = [order(number) for number in range(5)]
    assert all(sorted(names) == sorted(CONTENDERS) for names in rounds)
    assert len({names[0] for names in rounds}) > 1
    assert order(3) == rounds[3]


def turn(name: str, cpu_us: float) -> dict[str, Any]:
    added = {"p50": 0.0, "p99": 2.0, "max": 3.0}
    return {"contender": name, "cpu_us_per_chunk": cpu_us, "chunks_per_s": 100.0, "added_itl_ms": added, "errors": 0}


def test_ratios_are_taken_within_each_round(tmp_path: Path) -> None:
    # A machine that is twice as slow in the second round changes no ratio.
    cpu_us = {"bare": 20.0, "naive": 100.0, "none": 25.0, "redis-push": 26.0, "redis-poll": 50.0}
    rounds = [[turn(name, value * slow) for name, value in cpu_us.items()] for slow in (1, 2)]
    file = tmp_path / "results" / "relay.json"
    write(summarise(rounds, None, {"pairs": 2, "streams": 2, "itl_ms": 20.0}), file)
    found = json.loads(file.read_text())
    assert found["ratios"]["redis-push / bare"] == {"median": 1.3, "min": 1.3, "max": 1.3}
    assert found["contenders"]["bare"]["cpu_us_per_chunk"] == {"median": 30.0, "min": 20.0, "max": 40.0}
    assert set(found["contenders"]) == set(CONTENDERS)
    assert found["rounds"] == rounds
    assert list(file.parent.iterdir()) == [file]
