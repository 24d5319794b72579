"""The relay benchmark: each contender relays, the load counts and times its chunks, and the ratios are per round."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.experiments.frame import write_json
from bench.experiments.relay import stream_load as relay_load
from bench.experiments.relay.compare import summarise, tables
from bench.experiments.relay.mass_stop import end_at_once, hold_and_end
from bench.experiments.relay.stream_load import Load, _run
from bench.experiments.relay.turns import CONTENDERS, PAIR, RelayError, Stage, order, stage, take_turns
from bench.system.http import AnswerError


@pytest.fixture(scope="module")
def on() -> Any:
    with stage() as opened:
        yield opened


def test_contenders_that_are_loaded_at_the_same_time_relay_all_that_is_offered(on: Stage) -> None:
    names = ["bare", "naive", *PAIR]
    samples = take_turns(on, names, streams=10, itl_ms=50, window_s=1)
    assert [sample["contender"] for sample in samples] == names
    for sample in samples:
        assert sample["errors"] == sample["silent"] == 0
        assert sample["chunks_per_s"] == pytest.approx(200, rel=0.1)
        assert sample["added_itl_ms"]["p50"] == pytest.approx(0, abs=12)
        assert 0 < sample["cpu_us_per_chunk"] < 5000


def test_one_that_fails_keeps_the_other_waiting_for_nothing(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, _chats: int) -> None:
        raise AnswerError(f"{url} is broken")

    monkeypatch.setattr("bench.experiments.relay.turns.warm_up", fail)
    with pytest.raises(RelayError, match="cannot chat"):
        take_turns(on, PAIR, streams=10, itl_ms=20, window_s=1)


def test_streams_end_at_once_in_two_ways(on: Stage) -> None:
    ended = {each["contender"]: each for each in end_at_once(on, 1, streams=30)}
    assert set(ended) == {"stop", "hang-up"}
    for each in ended.values():
        assert each["errors"] == each["silent"] == each["uncut"] == 0
        assert each["upstreams_cut"] == 30
        assert 0 < each["upstream_stop_ms"]["p50"] <= each["upstream_stop_ms"]["max"]


def test_all_held_streams_end_when_all_are_stopped(on: Stage) -> None:
    held = hold_and_end(on, streams=30, window_s=0.5)
    assert held["errors"] == held["silent"] == held["unstopped"] == held["uncut"] == 0
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
    assert (result["errors"], result["silent"]) == (3, 0)
    assert result["chunks"] == 0


async def test_streams_without_an_answer_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_load, "START_DEADLINE_S", 0.1)

    gone: asyncio.Queue[None] = asyncio.Queue()

    class Mute(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
            gone.put_nowait(None)

    server = await asyncio.get_running_loop().create_server(Mute, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await _run(Load(port, streams=3, itl_ms=20, window_s=0.1, ramp_s=0.1))
        for _ in range(3):
            await gone.get()
    assert (result["errors"], result["silent"], result["chunks"]) == (0, 3, 0)


def test_no_contender_has_a_fixed_neighbour() -> None:
    rounds = [order(number) for number in range(5)]
    assert all(sorted(names) == sorted(CONTENDERS) for names in rounds)
    assert len({names[0] for names in rounds}) > 1
    assert order(3) == rounds[3]


def turn(name: str, cpu_us: float, **changes: Any) -> dict[str, Any]:
    sample: dict[str, Any] = {"contender": name, "streams": 400, "cpu_us_per_chunk": cpu_us, "chunks_per_s": 100.0}
    sample |= {"added_itl_ms": {"p50": 0.0, "p99": 2.0, "max": 3.0}, "errors": 0, "silent": 0, "client_cpu": 0.2}
    return sample | changes


CPU_US = {"bare": 20.0, "naive": 100.0, "none": 25.0, "redis-push": 25.25, "redis-poll": 50.0}
SETTINGS = {
    "pairs": 5,
    "streams": 400,
    "itl_ms": 20.0,
    "light_streams": 50,
    "together_streams": 100,
    "mass_streams": 800,
}
ENDED_MS = {"stop": 180.0, "hang-up": 100.0}


def ended(name: str, slow: float, **changes: Any) -> dict[str, Any]:
    sample = {"upstream_stop_ms": {"p50": 10.0, "max": ENDED_MS[name] * slow}, "errors": 0, "silent": 0, "uncut": 0}
    return {"contender": name, "streams": 800, "client_cpu": 0.2, **sample, **changes}


def samples(*, push_noise: float = 0.005, **changes: dict[str, Any]) -> dict[str, list[list[dict[str, Any]]]]:
    """Five rounds on a machine that is slower in each; `changes` of a contender are those of its every turn."""
    noise = [1 + push_noise * sign for sign in (1, -1, 1, -1, 1)]

    def take(names: Iterable[str], number: int) -> list[dict[str, Any]]:
        slow = (1 + number) * noise[number]
        return [
            turn(name, CPU_US[name] * (slow if name == "redis-push" else 1 + number), **changes.get(name, {}))
            for name in names
        ]

    names = {"rounds": CONTENDERS, "together": PAIR, "light": ("naive", "redis-push")}
    again = {"together": 2}
    mass = [[ended(name, 1 + number) for name in ENDED_MS] for number in range(5)]
    return {"mass": mass} | {
        part: [take(those, number) for number in range(5) for _ in range(again.get(part, 1))]
        for part, those in names.items()
    }


def ratio_of(title: str, **given: Any) -> dict[str, Any]:
    return dict(summarise(samples(**given), None, SETTINGS)["ratios"][title])


def test_ratios_are_taken_within_each_round(tmp_path: Path) -> None:
    given = samples(push_noise=0.0)
    file = tmp_path / "results" / "relay.json"
    write_json(file, summarise(given, None, SETTINGS))
    found = json.loads(file.read_text())
    ratio = found["ratios"]["redis-push / bare"]
    assert [ratio[name] for name in ("median", "min", "max")] == pytest.approx([1.2625] * 3)
    assert found["contenders"]["bare"]["cpu_us_per_chunk"] == {"median": 60.0, "min": 20.0, "max": 100.0}
    assert set(found["contenders"]) == set(CONTENDERS)
    assert {part: found[part] for part in given} == given
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(("push_noise", "verdict"), [(0.005, "met"), (0.2, "undecided")])
def test_three_per_cent_are_decided_by_an_interval_and_not_by_a_median(push_noise: float, verdict: str) -> None:
    found = ratio_of("redis-push / none", push_noise=push_noise)
    assert found["verdict"] == verdict
    assert found["n"] == 10  # the pair is loaded at once twice in each round
    assert ratio_of("redis-push / bare", push_noise=push_noise)["n"] == 5


def test_three_per_cent_can_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CPU_US, "redis-push", 27.0)
    assert ratio_of("redis-push / none")["verdict"] == "missed"
    assert ratio_of("redis-push / bare")["verdict"] == "met"


def test_the_last_of_many_stops_is_compared_with_the_last_of_as_many_hang_ups() -> None:
    given = samples()
    ratio = summarise(given, None, SETTINGS)["ratios"]["stop / hang-up, last gone"]
    assert ratio["median"] == pytest.approx(1.8)
    assert ratio["verdict"] == "met"
    given["mass"][0][0]["uncut"] = 1
    summary = summarise(given, None, SETTINGS)
    assert summary["ratios"]["stop / hang-up, last gone"]["verdict"] == "not claimable"
    assert "stop: 1 of 4,000 streams were still open upstream" in summary["doubts"][0]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"errors": 3}, "15 of 2,000 streams were refused"),
        ({"silent": 190}, "950 of 2,000 streams had no answer"),
        ({"client_cpu": 0.97}, "the load used 97% of a core"),
    ],
)
def test_streams_that_failed_and_a_load_short_of_cpu_cannot_be_claimed(fault: dict[str, Any], reason: str) -> None:
    given = samples(naive=fault)
    given["light"] = samples()["light"]
    summary = summarise(given, None, SETTINGS)
    ratios = summary["ratios"]
    assert ratios["naive / redis-push"]["verdict"] == "not claimable"
    assert ratios["redis-push / none"]["verdict"] == "met"
    assert ratios["naive / redis-push, light"]["verdict"] == "met"  # which it could carry
    (doubt,) = summary["doubts"]
    assert reason in doubt
    console = Console(width=80)
    with console.capture() as capture:
        console.print(*tables(summary))
    text = capture.get()
    assert "not claimable" in text
    assert "…" not in text
    naive = next(line for line in text.splitlines() if line.startswith("naive "))
    shown = {"errors": 5 * fault.get("errors", 0), "silent": 5 * fault.get("silent", 0)}
    assert naive.split()[-3:] == [*map(str, shown.values()), f"{fault.get('client_cpu', 0.2):.0%}"]


def test_a_limit_of_files_that_cannot_be_raised_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS reports an infinite limit, and refuses it."""

    def refused(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    def reached(*_: object) -> None:
        raise LookupError("the store")

    monkeypatch.setattr("resource.setrlimit", refused)
    monkeypatch.setattr("bench.experiments.frame.open_store", reached)
    with pytest.raises(LookupError), stage():
        pass
