"""The soak: it comes out clean on our service, its wrong answers and leaks are named, and its memory test can tell."""

import random
import subprocess
import sys

import pytest
from aiohttp import web

from bench.soak_checks import memory_verdict
from bench.soak_traffic import KINDS, Traffic


def noisy_kb(per_s: float, seconds: int) -> list[tuple[float, float]]:
    rng = random.Random(1)
    warm_up = [min(second, 60) * 100.0 for second in range(seconds)]
    return [(float(s), 80_000 + warm_up[s] + per_s * s + rng.uniform(-200, 200)) for s in range(seconds)]


@pytest.mark.parametrize(("per_s", "grows"), [(0.0, False), (0.5, False), (10.0, True)])
def test_memory_is_judged_after_the_warm_up(per_s: float, grows: bool) -> None:
    words, found = memory_verdict("worker 7", noisy_kb(per_s, 600), chats_per_s=10)
    assert found is grows
    assert ("GROWS" in words) is grows
    assert "bytes per chat" in words


def test_too_short_a_soak_says_that_memory_was_not_judged() -> None:
    words, grows = memory_verdict("worker 7", noisy_kb(1000.0, 60), chats_per_s=10)
    assert not grows
    assert "too short" in words


def test_a_soak_of_our_service_is_clean() -> None:
    command = [sys.executable, "-m", "bench", "soak", "--minutes", "0.1", "--workers", "2", "--backend", "redis"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "120 chats" in done.stdout
    for what in ("answers the mock still gives", "connections to the upstream", "live chats", "records in the store"):
        assert f"{what}" in done.stdout


async def test_a_service_that_ignores_aborts_is_found_out() -> None:
    async def chat(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"data: 1\n\ndata: [DONE]\n\n")
        return response

    async def abort(_: web.Request) -> web.Response:
        return web.Response(text="{}")

    app = web.Application()
    app.router.add_post("/chat/", chat)
    app.router.add_post("/abort/", abort)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        traffic = Traffic(f"http://{host}:{port}", 1, "t", sure_stops=True)
        await traffic.run(2.0)
    finally:
        await runner.cleanup()
    assert traffic.counts.total() == traffic.started == 40
    assert set(traffic.counts) == set(KINDS)
    assert traffic.wrong["aborted, says so: False instead of True"] == traffic.counts["aborted"]
    assert "finished" not in " ".join(traffic.wrong)


@pytest.mark.parametrize("backend", ["mysql", "disconnect"])
def test_an_unknown_backend_names_the_choices(backend: str) -> None:
    command = [sys.executable, "-m", "bench", "soak", "--backend", backend]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "memory, postgres, redis" in done.stderr
