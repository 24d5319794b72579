"""Each fault of the proof does what it says, in the service as it is now."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench.experiments.prove.faults import FAULTS
from bench.gate.commits import ROOT
from bench.record.settle import settled
from bench.system.procs import Child

HERE = {fault.name: fault for fault in FAULTS}
TOKENS, CHATS, DEADLINE_S = 150, 3, 30.0
CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}

ABORTS = """
import asyncio, json, time
from backends import from_url

async def main():
    asked = []
    async with from_url("memory+push://") as delivery:
        states = delivery.store.states
        async def counted(chats):
            asked.append(len(chats))
            return await states(chats)
        delivery.store.states = counted
        async with delivery.watch("one", "me"):
            told = len(asked)
        took, lost = [], 0
        for number in range({aborts}):
            async with delivery.watch(str(number), "me") as signal:
                began = time.perf_counter()
                await delivery.abort(str(number), "me")
                took.append(time.perf_counter() - began)
                lost += not signal.aborted
        print(json.dumps({{"kind": delivery.name, "asked": told, "least_s": min(took), "lost": lost}}))

asyncio.run(main())
"""


def patched(folder: Path, *names: str) -> Path:
    """A copy of the service with these faults."""
    for room in ("backends", "server"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in names:
        HERE[name].apply(folder)
    return folder


def aborts(folder: Path, count: int) -> dict[str, Any]:
    """What a chat and so many aborts came to with the memory store."""
    done = subprocess.run(
        [sys.executable, "-c", ABORTS.format(aborts=count)], cwd=folder, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", {"kind": "push", "asked": 0, "late": False, "lost": False}),
        ("delay", {"kind": "push", "asked": 0, "late": True, "lost": False}),
        ("poll", {"kind": "poll", "asked": 0, "late": False, "lost": True}),  # nothing has polled
        ("ask", {"kind": "push", "asked": 1, "late": False, "lost": False}),
        ("drop", {"kind": "push", "asked": 0, "late": False, "lost": True}),
        ("drop-rarely", {"kind": "push", "asked": 0, "late": False, "lost": True}),
    ],
)
def test_what_is_done_to_the_stop_path(tmp_path: Path, name: str, expected: dict[str, Any]) -> None:
    found = aborts(patched(tmp_path, *([name] if name else [])), 2000 if "drop" in name else 20)
    seen = {
        "kind": found["kind"],
        "asked": found["asked"],
        "late": found["least_s"] >= 0.005,
        "lost": found["lost"] > 0,
    }
    assert seen == expected
    assert found["lost"] < 100 or name == "poll"  # of 2,000 drop loses about 20, drop-rarely about 10


def test_the_small_delay_of_the_stop_path_is_at_least_what_it_says(tmp_path: Path) -> None:
    assert aborts(patched(tmp_path, "late"), 20)["least_s"] >= 0.0003


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    arguments = ["mock_llm", "serve", "--port", "0", "--ttft-ms", "5", "--itl-ms", "4", "--output-tokens", str(TOKENS)]
    with Child("mock_llm", arguments, tmp_path_factory.mktemp("mock") / "log") as running:
        yield running


@contextmanager
def serving(folder: Path, mock: Child) -> Iterator[Child]:
    arguments = ["server", "--port", "0", "--workers", "1", "--backend", "memory+push://"]
    env = {"OPENAI_BASE_URL": f"{mock.url}/v1", "OPENAI_API_KEY": "unused"}
    with Child("server", arguments, folder / "log", folder=folder, env=env) as service:
        yield service


def asked(service: Child, path: str, body: Mapping[str, Any]) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=DEADLINE_S)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", "Connection": "close"})
    answer = connection.getresponse()
    assert answer.status == 200
    return answer


def chat(service: Child, request_id: str, *, leave: bool = False) -> None:
    with asked(service, "/chat/", CHAT | {"request_id": request_id}) as answer:
        answer.read(100) if leave else answer.read()


def chat_cpu_s(service: Child) -> float:
    """CPU time of a chat, after a first one."""
    chat(service, "first")
    before = service.cpu_s()
    for number in range(CHATS):
        chat(service, f"measured-{number}")
    return (service.cpu_s() - before) / CHATS


def outcome_at_the_mock(mock: Child, request_id: str) -> str:
    journal, _ = settled(mock.url, None, [])
    (row,) = [row for row in journal if row.id == request_id]
    return str(row.outcome)


def test_what_is_done_to_the_relay(tmp_path: Path, mock: Child) -> None:
    with serving(patched(tmp_path / "plain"), mock) as service:
        plain_s = chat_cpu_s(service)
        chat(service, "plain-left", leave=True)
        assert outcome_at_the_mock(mock, "plain-left") == "cut"
    with serving(patched(tmp_path / "faulty", "burn", "leak"), mock) as service:
        burnt_s = chat_cpu_s(service)
        chat(service, "faulty-left", leave=True)
        assert outcome_at_the_mock(mock, "faulty-left") == "finished"
    assert burnt_s - plain_s > 0.4 * TOKENS * 100e-6  # a busy machine relays some tokens together


def test_client_and_abort_are_answered_before_the_upstream_is_closed(tmp_path: Path, mock: Child) -> None:
    """With a longer wait than the fault's, so that a slow answer cannot hide it."""
    folder, wait_ms = patched(tmp_path), 300
    replace(HERE["answer-first"], values={"wait_ms": wait_ms}).apply(folder)
    with serving(folder, mock) as service:
        living = asked(service, "/chat/", CHAT | {"request_id": "answered"})
        living.read(100)
        sent_ns = time.monotonic_ns()
        assert json.load(asked(service, "/abort/", {"request_id": "answered", "wait_ms": 1000}))["status"] == "stopped"
        living.read()
        answered_ns = time.monotonic_ns()
        journal, _ = settled(mock.url, None, [])  # before the service ends, which would close the upstream
    (row,) = [row for row in journal if row.id == "answered"]
    assert row.outcome == "cut"
    assert sent_ns + wait_ms * 1_000_000 <= (row.lost_ns or 0)
    assert answered_ns < (row.lost_ns or 0)
