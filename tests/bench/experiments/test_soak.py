"""The soak: it comes out clean on our service, its wrong answers and leaks are named, and its memory test can tell."""

import contextlib
import http.client
import json
import random
import re
from itertools import count
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner

from bench.__main__ import app
from bench.experiments.soak import checks as soak_checks
from bench.experiments.soak import run as soak
from bench.experiments.soak.checks import memory_over_time, memory_verdict
from bench.experiments.soak.run import FORM_NAMES
from bench.experiments.soak.traffic import FORMS, KINDS, Traffic
from tests.bench.command import Bench


def noisy_kb(per_s: float, seconds: int) -> list[tuple[float, float]]:
    rng = random.Random(1)
    warm_up = [min(second, 60) * 100.0 for second in range(seconds)]
    return [(float(s), 80_000 + warm_up[s] + per_s * s + rng.uniform(-200, 200)) for s in range(seconds)]


@pytest.mark.parametrize(("per_s", "grows"), [(0.0, False), (0.5, False), (10.0, True)])
def test_memory_is_judged_after_the_warm_up(per_s: float, grows: bool) -> None:
    text, found = memory_verdict("worker 7", noisy_kb(per_s, 600), chats_per_s=10)
    assert found is grows
    assert ("GROWS" in text) is grows
    assert "bytes per chat" in text


def test_memory_of_a_short_soak_is_not_judged() -> None:
    text, grows = memory_verdict("worker 7", noisy_kb(1000.0, 60), chats_per_s=10)
    assert not grows
    assert "too short" in text


def test_memory_is_shown_over_time() -> None:
    text = memory_over_time("worker 7", [(float(s), 1024.0 * (80 + s / 60)) for s in range(601)], points=3)
    assert text == "worker 7: MB over time: 0:00 80.0, 5:00 85.0, 10:00 90.0"
    assert memory_over_time("worker 7", [(1.0, 1024.0)]) == "worker 7: MB over time: 0:01 1.0"
    assert "unknown" in memory_over_time("worker 7", [])


def test_a_soak_of_our_service_is_clean(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "LET_GO_S", 90.0)  # on a busy machine
    monkeypatch.setattr(soak, "TTL_S", 5.0)  # a kept-alive connection is held as long
    monkeypatch.setattr(soak, "REMEMBER_S", 2.0)
    done = bench("soak", "--minutes", "0.1", "--workers", "2", "--backend", "redis")
    assert done.returncode == 0, done.stderr
    assert "120 chats" in done.stdout
    for what in ("answers the mock still sends", "connections to the upstream", "live chats", "records in the store"):
        assert f"{what}" in done.stdout
    for kind in KINDS:
        assert re.search(rf"[1-9]\d* {kind}", done.stdout)
    for form in FORM_NAMES.values():
        assert re.search(rf"[1-9]\d* {re.escape(form)}", done.stdout)
    assert done.stdout.count("MB over time: 0:0") == 2  # a line for each worker


def test_what_leaks_is_found_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that nobody closes at the witness, and a worker that grows by a megabyte a second."""
    grown = count(1)
    monkeypatch.setattr(soak_checks, "rss_kb", lambda _pid: 80_000.0 + 1024 * next(grown))
    monkeypatch.setattr(soak_checks, "JUDGED_LEAST_S", 2.0)
    monkeypatch.setattr(soak, "LET_GO_S", 1.0)
    start = soak._start

    def start_and_leak(stack: contextlib.ExitStack, *arguments: Any, **options: Any) -> soak.Bench:
        bench = start(stack, *arguments, **options)
        forgotten = http.client.HTTPConnection(bench.mock.url.removeprefix("http://"))
        stack.callback(forgotten.close)
        message = {"role": "user", "content": "[mock:output_tokens=30000,itl_ms=20] [bench:forgotten]"}
        body = {"model": "mock", "stream": True, "messages": [message]}
        forgotten.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        forgotten.getresponse().read(1)
        return bench

    monkeypatch.setattr(soak, "_start", start_and_leak)
    done = CliRunner().invoke(app, ["soak", "--minutes", "0.1", "--workers", "1", "--backend", "memory"])
    assert done.exit_code == 1
    leaks = [line for line in done.stderr.splitlines() if line.startswith("bench: leak: ")]
    assert "GROWS" in leaks[0]
    assert leaks[1].startswith("bench: leak: 1 answers the mock still sends")  # then idle connections may follow


async def test_a_service_that_ignores_aborts_is_found_out() -> None:
    whole = {"choices": [{"finish_reason": "stop"}]}

    async def chat(request: web.Request) -> web.StreamResponse:
        if (await request.json()).get("stream") is False:
            return web.json_response(whole)
        text = request.headers.get("Accept") == "text/plain"
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"some words" if text else b"data: 1\n\ndata: [DONE]\n\n")
        return response

    async def abort(_: web.Request) -> web.Response:
        return web.json_response({"status": "accepted"})

    service = web.Application()
    service.router.add_post("/chat/", chat)
    service.router.add_post("/v1/chat/completions", chat)
    service.router.add_post("/abort/", abort)
    runner = web.AppRunner(service)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        traffic = Traffic(f"http://{host}:{port}", 1, "t", sure_stops=True)
        await traffic.run(4.0)
    finally:
        await runner.cleanup()
    assert traffic.counts.total() == traffic.started == 80
    assert set(traffic.counts) == set(KINDS)
    assert set(traffic.forms) == set(FORMS)
    silent = {words: times for words, times in traffic.wrong.items() if words.startswith("aborted, marked so")}
    assert set(silent) == {"aborted, marked so: False instead of True", "aborted, marked so: 200 instead of 499"}
    assert traffic.wrong["abort that waits: accepted instead of stopped"] > 0
    assert "finished" not in " ".join(traffic.wrong)


@pytest.mark.parametrize("backend", ["mysql", "disconnect"])
def test_an_unknown_backend_names_the_choices(bench: Bench, backend: str) -> None:
    done = bench("soak", "--backend", backend)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "memory, postgres, redis" in done.stderr
