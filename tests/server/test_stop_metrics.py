"""The metrics of what became of the upstream: closed by the abort, ended by itself nevertheless, still open."""

import asyncio
from collections.abc import Callable

import pytest

from backends import AbortOutcome
from server.ops import metrics
from server.relay.connections import open_connections
from tests.server.chat_run import STOP, Run, begin, left
from tests.server.harness import CHUNK, KINDS, Connection, Stage, stage
from tests.server.test_loop_lag import sampler

Counts = tuple[float, float]


def counts() -> Counts:
    """Upstreams closed by an abort, and dishonest stops."""
    samples = [*next(iter(metrics.STOP_S.collect())).samples, *next(iter(metrics.DISHONEST_STOPS.collect())).samples]
    values = {sample.name: sample.value for sample in samples}
    return values["stopwatch_stop_seconds_count"], values["stopwatch_dishonest_stops_total"]


def since(before: Counts) -> Counts:
    closed, dishonest = counts()
    return closed - before[0], dishonest - before[1]


async def streaming(scene: Stage, on_body: Callable[[bytes], object] = lambda _body: None) -> tuple[Run, Connection]:
    """A chat whose client has the first chunk."""
    run = begin(scene, "chat", on_body)
    upstream = await scene.upstream.asked()
    upstream.answer(CHUNK)
    await run.client.receives(CHUNK)
    return run, upstream


def end(upstream: Connection) -> None:
    """Send the rest of the answer."""
    upstream.transport.write(b"%x\r\n%b\r\n" % (len(STOP), STOP))
    upstream.end()


def lose_messages(scene: Stage) -> None:
    """Let the store record aborts without sending them to the chat's worker."""
    scene.store.notify = False


async def accept_abort(scene: Stage) -> None:
    """As another worker does it: this one's delivery would signal its chat directly."""
    outcome, _ = await scene.store.flag("chat-1", "me", remember=False)
    assert outcome is AbortOutcome.ACCEPTED


async def test_a_stop_is_counted_once() -> None:
    async with stage() as scene:
        before = counts()
        run, _ = await streaming(scene)
        await accept_abort(scene)
        await run.over()
        assert (run.reason, since(before)) == ("abort", (1, 0))


async def test_an_abort_that_never_reaches_its_chat_is_a_dishonest_stop() -> None:
    async with stage() as scene:
        before = counts()
        run, upstream = await streaming(scene)
        lose_messages(scene)
        await accept_abort(scene)
        end(upstream)
        await run.over()
        assert (run.reason, since(before)) == ("stop", (0, 1))


async def test_an_abort_after_the_last_event_is_a_dishonest_stop() -> None:
    async with stage() as scene:
        before = counts()

        def abort_at_the_end(body: bytes) -> None:
            if b"[DONE]" in body:
                scene.worker.delivery.abort_all()

        run, upstream = await streaming(scene, abort_at_the_end)
        end(upstream)
        await run.over()
        assert (run.reason, since(before)) == ("stop", (0, 1))


async def test_a_client_that_hangs_up_after_its_abort_closes_the_upstream() -> None:
    async with stage() as scene:
        before = counts()
        run, _ = await streaming(scene)
        lose_messages(scene)
        await accept_abort(scene)
        run.client.gone.set()
        await run.over()
        assert (run.reason, since(before)) == ("disconnect", (0, 0))


@pytest.mark.parametrize("complete", [False, True])
async def test_a_shutdown_is_no_abort(complete: bool) -> None:
    async with stage(drain_s=0) as scene:
        before = counts()

        def shut_down(body: bytes) -> None:
            if not complete or b"[DONE]" in body:
                scene.worker.drained = True
                scene.worker.delivery.abort_all()

        run, upstream = await streaming(scene, shut_down)
        end(upstream)
        await run.over()
        assert (run.reason, since(before)) == ("stop" if complete else "shutdown", (0, 0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["abort", "hang-up", "broken"])
async def test_an_upstream_is_open_until_its_chat_ends(kind: str, how: str) -> None:
    async with stage() as scene:
        before = open_connections()
        run = begin(scene, kind)
        upstream = await scene.upstream.asked()
        assert open_connections() == before + 1
        if how == "abort":
            await accept_abort(scene)
        elif how == "hang-up":
            run.client.gone.set()
        else:
            upstream.transport.abort()
        await left(scene)
        async with asyncio.timeout(10):
            await asyncio.wait([run.task])
        assert open_connections() == before


async def test_a_connection_in_the_pool_is_not_an_open_upstream() -> None:
    async with stage() as scene:
        before = open_connections()
        run, upstream = await streaming(scene)
        assert open_connections() == before + 1
        end(upstream)
        await run.over()
        assert open_connections() == before
        assert not upstream.left.is_set()


def test_the_gauge_shows_the_open_upstreams() -> None:
    one = sampler(lambda: 7)
    one._since_s -= 0.5
    one.add_lag(0.0)
    assert metrics.OPEN_UPSTREAMS._value.get() == 7
