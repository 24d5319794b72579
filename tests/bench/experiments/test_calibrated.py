"""The contender that holds what it injects, against the real mock: by its own stamps and by the witness's."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from bench.experiments.contenders.calibrated import Chat
from bench.system.http import request_json, warm_up
from tests.processes import running

MODEL = {"model": "mock", "stream": True}
LONG = "[mock:ttft_ms=1,itl_ms=20,output_tokens=500]"
SHORT = "[mock:ttft_ms=1,itl_ms=20,output_tokens=25]"


class Bench:
    """The contender, the mock behind it, and where the contender writes its stamps."""

    def __init__(self, session: aiohttp.ClientSession, mock_url: str, traces: Path) -> None:
        self.session = session
        self.mock_url = mock_url
        self.traces = traces

    async def chat(self, request_id: str, marker: str = LONG, aborts: int = 1) -> list[Any]:
        """Chat, abort after the first event, read to the end; gives the abort's answers, then the chat's events."""
        async with self.session.post("/chat/", json=body(request_id, marker)) as response:
            assert response.status == 200
            assert response.headers["X-Request-Id"] == request_id
            text = await response.content.readuntil(b"\n\n")
            answers = [await self.abort(request_id) for _ in range(aborts)]
            text += await response.content.read()
        return [*answers, text.decode().split("\n\n")]

    async def abort(self, request_id: str) -> tuple[int, Any]:
        async with self.session.post("/abort/", json={"request_id": request_id}) as response:
            return response.status, await response.json()

    async def stamps(self, kind: str, chats: int) -> dict[str, Any]:
        """The lines of a kind by id, as soon as so many chats are written down: after the client saw their end."""
        found: dict[str, dict[str, Any]] = {"chat": {}, "abort": {}}
        while len(found["chat"]) < chats:
            for line in await asyncio.to_thread(lambda: next(self.traces.glob("*.jsonl")).read_text().splitlines()):
                trace = json.loads(line)
                found[trace["kind"]].setdefault(trace["request_id"], trace)
        return found[kind]

    def journal(self) -> dict[str, Any]:
        return {row["id"]: row for row in request_json(self.mock_url, "/__mock/journal")["rows"]}


def body(request_id: str, marker: str) -> dict[str, Any]:
    return {**MODEL, "request_id": request_id, "messages": [{"role": "user", "content": marker}]}


@pytest.fixture(scope="module")
def mock_url() -> Iterator[str]:
    with running("mock_llm", "serve", "--port", "0") as mock:
        yield mock.url


@pytest.fixture
async def bench(mock_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    """A contender of one's own: it counts its drops."""
    url = f"{mock_url}/v1"
    with running(
        "bench.experiments.contenders.calibrated", OPENAI_BASE_URL=url, OPENAI_API_KEY="unused", TRACE_DIR=str(tmp_path)
    ) as contender:
        async with aiohttp.ClientSession(contender.url) as session:
            yield Bench(session, mock_url, tmp_path)


async def test_it_answers_as_our_service_does(bench: Bench) -> None:
    first, second, events = await bench.chat("looks-delay-1", aborts=2)
    message = "Streaming for request looks-delay-1 will be aborted."
    assert first == (200, {"message": message, "request_id": "looks-delay-1", "status": "accepted"})
    assert second[1]["status"] == "already_aborted"
    assert events[-2:] == ["data: [DONE]", ""]
    last = json.loads(events[-3].removeprefix("data: "))
    assert last["choices"][0]["finish_reason"] == "abort"
    assert last["object"] == json.loads(events[0].removeprefix("data: "))["object"] == "chat.completion.chunk"
    assert await bench.abort("looks-delay-1") == (404, {"detail": "Request ID not found"})
    async with bench.session.post("/chat/", data=b"[1]") as refused:
        assert refused.status == 422
    stamps = (await bench.stamps("chat", 1))["looks-delay-1"]
    assert stamps["finish_reason"] == "abort"
    order = ("received_ns", "registered_ns", "first_byte_ns", "signal_ns", "upstream_closed_ns", "ended_ns")
    assert [stamps[name] for name in order] == sorted(stamps[name] for name in order)


async def test_a_second_live_chat_of_the_same_id_is_refused(bench: Bench) -> None:
    async with bench.session.post("/chat/", json=body("twice-instant", LONG)) as live:
        await live.content.readuntil(b"\n\n")
        async with bench.session.post("/chat/", json=body("twice-instant", LONG)) as other:
            assert other.status == 409
        assert (await bench.abort("twice-instant"))[0] == 200


def test_a_stop_has_left_when_it_is_done_and_not_at_the_loops_next_turn() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        transport = SimpleNamespace(get_extra_info=lambda _: near)
        upstream: Any = SimpleNamespace(connection=SimpleNamespace(transport=transport), close=lambda: None)
        chat = Chat("x-instant-1")
        chat.opened(upstream)
        with pytest.raises(BlockingIOError):
            far.recv(1)
        chat.stop()
        assert far.recv(1) == b"", "the end of the stream is here already"


@pytest.mark.parametrize(
    ("request_id", "arm"),
    [
        ("5f3a-calibration-delay-0-17", "delay"),
        ("5f3a-calibration-drop-calibration-instant-17", "drop"),
        ("delayed-drops-1", "instant"),
        ("warm-up-3", "instant"),
    ],
)
def test_the_arm_is_the_first_word_that_names_one(request_id: str, arm: str) -> None:
    assert Chat(request_id).arm == arm


async def test_a_client_that_leaves_in_a_silence_takes_its_upstream_along(bench: Bench) -> None:
    silent = "[mock:ttft_ms=1,output_tokens=5,stall_at=1,stall_ms=20000]"
    async with bench.session.post("/chat/", json=body("leaves-instant", silent)) as live:
        await live.content.readuntil(b"\n\n")
    row = {"outcome": "open"}
    while row["outcome"] == "open":
        row = (await asyncio.to_thread(bench.journal))["leaves-instant"]
    assert row["outcome"] == "cut"
    assert len(row["token_ns"]) == 1


async def test_a_chat_without_an_abort_ends_by_itself(bench: Bench) -> None:
    async with bench.session.post("/chat/", json=body("whole-drop", "[mock:itl_ms=1,output_tokens=5]")) as response:
        text = await response.text()
    assert text.count('"delta":{"content":"') == 5
    assert '"finish_reason":"stop"' in text
    assert text.endswith("data: [DONE]\n\n")


def test_a_warm_up_names_no_arm_and_is_obeyed(mock_url: str) -> None:
    with running(
        "bench.experiments.contenders.calibrated", OPENAI_BASE_URL=f"{mock_url}/v1", OPENAI_API_KEY="unused"
    ) as contender:
        warm_up(contender.url, 16)


async def test_the_delay_is_ten_milliseconds_and_the_instant_none(bench: Bench) -> None:
    ids = {arm: [f"t0-calibration-{arm}-{number}" for number in range(30)] for arm in ("instant", "delay")}
    for pair in zip(*ids.values(), strict=True):
        await asyncio.gather(*(bench.chat(request_id) for request_id in pair))
    aborts, chats, journal = await bench.stamps("abort", 60), await bench.stamps("chat", 60), bench.journal()

    def after_ms(request_id: str) -> float:
        return float(chats[request_id]["signal_ns"] - aborts[request_id]["received_ns"]) / 1e6

    held = [after_ms(request_id) for request_id in ids["delay"]]
    assert min(held) >= 10, "never early"
    assert sorted(held)[len(held) // 4] < 10.1  # a busy machine preempts some
    assert median(after_ms(request_id) for request_id in ids["instant"]) < 0.1
    lost = {arm: [(journal[each]["lost_ns"] - aborts[each]["received_ns"]) / 1e6 for each in ids[arm]] for arm in ids}
    assert median(lost["delay"]) - median(lost["instant"]) == pytest.approx(10, abs=1)


async def test_one_abort_in_a_hundred_is_lost_and_answered_all_the_same(bench: Bench) -> None:
    ids = [f"t0-calibration-drop-{number}" for number in range(200)]
    others = [f"t0-calibration-instant-{number}" for number in range(20)]
    found: dict[str, list[Any]] = {}
    for start in range(0, 200, 40):
        now = [*ids[start : start + 40], *others[start // 10 : start // 10 + 4]]
        found |= dict(zip(now, await asyncio.gather(*(bench.chat(each, SHORT) for each in now)), strict=True))
    assert {answer[0][1]["status"] for answer in found.values()} == {"accepted"}, "the answer never tells"
    journal, aborts = bench.journal(), await bench.stamps("abort", 220)
    disobeyed = {each for each in found if journal[each]["outcome"] == "finished"}
    in_order = sorted(ids, key=lambda each: int(aborts[each]["recorded_ns"]))
    assert disobeyed == {in_order[99], in_order[199]}
    assert all(journal[each]["outcome"] == "cut" for each in found.keys() - disobeyed)
    assert all("abort" not in "".join(found[each][-1]) for each in disobeyed)
