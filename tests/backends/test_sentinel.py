"""Redis behind Sentinels: failovers during live streams and aborts, and what is wrong in the URL."""

import asyncio
import re
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

import backends
from backends import BackendError, BackendUrlError, StoreRefusedError
from backends.redis.url import sentinel_url
from tests.backends.fault_load import FAULT_AFTER_S, fault_load
from tests.backends.sentinels import Group, sentinel_group
from tests.conftest import namespace

DELIVERIES = ("poll", "timer", "push")
ABORTS_OVER_S = 2.0  # a planned failover takes about 1 s to begin
AFTER_SERVER_S = 3.0  # until the workers' commands work again; a frozen connection must time out first
START_S = 4.0


@pytest.fixture
def group() -> Iterator[Group]:
    with sentinel_group() as group:
        yield group


async def kill(group: Group) -> None:
    group.nodes[0].kill()


async def freeze(group: Group) -> None:
    group.nodes[0].process.send_signal(signal.SIGSTOP)


async def plan(group: Group) -> None:
    group.ask_sentinel("SENTINEL", "FAILOVER", "sw")


@pytest.mark.parametrize("fault", [kill, freeze, plan], ids=["kill", "freeze", "plan"])
async def test_no_accepted_abort_is_lost_in_a_failover(
    group: Group, fault: Callable[[Group], Awaitable[None]], record_property: Callable[[str, object], None]
) -> None:
    async with AsyncExitStack() as stack:
        loads = [
            await stack.enter_async_context(fault_load("redis+sentinel", delivery, group.url, group.url, ABORTS_OVER_S))
            for delivery in DELIVERIES
        ]
        all_live = asyncio.Barrier(len(loads) + 1)
        async with asyncio.TaskGroup() as tasks:
            for load in loads:
                tasks.create_task(load.run(all_live))
            await all_live.wait()
            await asyncio.sleep(FAULT_AFTER_S)
            at_s = time.monotonic()
            await fault(group)
            server_s = await group.failed_over()
        for load, delivery in zip(loads, DELIVERIES, strict=True):
            pause_s, failover_s = load.longest_pause_s(at_s), server_s - at_s
            row = f"{load.row()}, no accepts for {pause_s:.2f} s (failover {failover_s:.2f} s)"
            record_property(f"sentinel {fault.__name__:9} {delivery:5}", row)
            assert pause_s < failover_s + AFTER_SERVER_S


async def test_single_nodes_are_found_by_each_delivery_and_closed(group: Group) -> None:
    for delivery in DELIVERIES:
        url = group.url.replace("://", f"+{delivery}://")
        async with (
            backends.from_url(url, backends.Options(namespace=namespace(), interval_ms=20.0)) as worker,
            worker.watch("chat", "me") as abort_signal,
        ):
            assert await worker.abort("chat", "me") is backends.AbortOutcome.ACCEPTED
            async with asyncio.timeout(START_S):
                while not abort_signal.aborted:
                    await asyncio.sleep(0.01)
                    if abort_signal.poll is not None:
                        await abort_signal.poll()


async def failure(url: str, kind: type[BackendError]) -> str:
    """The message at start, within START_S."""
    async with asyncio.timeout(START_S):
        with pytest.raises(kind) as failed:
            async with backends.from_url(url, backends.Options(command_timeout_s=1.0)):
                pass
    assert "\n" not in str(failed.value)
    return str(failed.value)


async def test_a_wrong_name_is_one_line_with_the_names_that_exist(group: Group) -> None:
    url = group.url.replace("/sw", "/swx").replace("://", "+push://")
    message = await failure(url, StoreRefusedError)
    assert re.search(r"'swx' .*no master has this name.*the Sentinels know: sw\)", message)


async def test_a_server_that_is_no_sentinel_is_one_line(group: Group) -> None:
    port = group.nodes[0].url.split(":")[-1].split("/")[0]
    assert "Sentinel" in await failure(f"redis+sentinel+push://127.0.0.1:{port}/sw", StoreRefusedError)


async def test_sentinels_that_do_not_answer_are_one_line() -> None:
    with socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as silent:
        closed.bind(("127.0.0.1", 0))
        hosts = ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in (closed, silent))
        message = await failure(f"redis+sentinel+push://{hosts}/sw", backends.StoreUnavailableError)
    assert "no Sentinel answers" in message
    assert hosts in message


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis+sentinel+push://h1,h2", "not the name of a master"),
        ("redis+sentinel+push://h1,h2/sw/0", "not the name of a master"),
        ("redis+sentinel+push:///sw", "no Sentinel"),
        ("redis+sentinel+push://h1/sw?nonsense=1", "nonsense"),
        ("redis+sentinel+pull://h1/sw", "choose one of"),
        ("redis+push://h1,h2/0", "redis\\+sentinel://"),
    ],
)
def test_a_url_that_cannot_be_right_is_refused(url: str, words: str) -> None:
    with pytest.raises(BackendUrlError, match=words):
        backends.from_url(url)


def test_the_sentinels_have_a_login_of_their_own_and_a_default_port() -> None:
    parsed = sentinel_url("rediss+sentinel://me:secret@h1,[::1]:5000/sw?sentinel_password=other&db=2")
    assert parsed.sentinels == [("h1", 26379), ("::1", 5000)]
    assert parsed.login == {"password": "other"}
    assert parsed.node_url == "rediss://me:secret@127.0.0.1?db=2"
    assert "secret" not in repr(parsed)
    assert "other" not in repr(parsed)
