"""Redis behind Sentinels: failovers during live streams and aborts, and what is wrong in the URL."""

import asyncio
import gc
import re
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
from redis.asyncio import SSLConnection

import backends
from backends import BackendError, BackendUrlError, StoreRefusedError
from backends.redis.sentinel import Sentinels
from backends.redis.url import sentinel_url
from backends.supervise import cancel_and_wait
from tests.backends.failover import port_of
from tests.backends.fault_load import DELIVERIES, load_during
from tests.backends.sentinels import Group, ask, sentinel_group, sentinel_without_masters
from tests.conftest import namespace

ABORTS_OVER_S = 2.0  # a planned failover takes about 1 s to begin
AFTER_SERVER_S = 3.0  # until the workers' commands work again; a frozen connection must time out first
START_S = 4.0


@pytest.fixture(autouse=True)
def _every_connection_is_closed() -> Iterator[None]:
    """The finalizer of an open connection warns, and a warning is an error."""
    yield
    gc.collect()


@pytest.fixture
def group() -> Iterator[Group]:
    with sentinel_group() as group:
        yield group


@pytest.fixture(scope="module")
def stable_group() -> Iterator[Group]:
    """For tests without a failover."""
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
    async def inject() -> float:
        await fault(group)
        return await group.failed_over()

    async with load_during(inject, "redis+sentinel", group.url, group.url, ABORTS_OVER_S) as found:
        failover_s = found.over_s - found.fault_s
        for delivery, load in found.loads.items():
            pause_s = load.longest_pause_s(found.fault_s)
            row = f"{load.row()}, no accepts for {pause_s:.2f} s (failover {failover_s:.2f} s)"
            record_property(f"sentinel {fault.__name__:9} {delivery:5}", row)
            assert pause_s < failover_s + AFTER_SERVER_S


async def test_each_delivery_finds_the_master(stable_group: Group) -> None:
    for delivery in DELIVERIES:
        url = stable_group.url.replace("://", f"+{delivery}://")
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


async def test_two_searches_at_a_time_use_the_same_sentinels(stable_group: Group) -> None:
    """The commands and the listener are both dialled after a failover; the first Sentinel does not know the master."""
    with sentinel_without_masters(stable_group) as port:
        sentinels = Sentinels(stable_group.url.replace("://", f"://127.0.0.1:{port},"), backends.Options(), print)
        for wire in await asyncio.gather(*(sentinels.open("test", 1.0) for _ in range(2))):
            wire.close()


async def test_a_cancelled_search_leaves_no_connection(stable_group: Group) -> None:
    """Cancelled after each turn of the event loop, until it ends before that."""
    turns = 0
    while True:
        sentinels = Sentinels(stable_group.url, backends.Options(), print)
        searching = asyncio.create_task(sentinels.open("test", 1.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        if searching.done():
            searching.result().close()
            break
        await cancel_and_wait([searching])
        if not searching.cancelled():  # redis-py can swallow a cancellation
            searching.result().close()
        turns += 1
    assert turns > 10


async def failure(url: str, kind: type[BackendError]) -> str:
    """The message at start, within START_S."""
    async with asyncio.timeout(START_S):
        with pytest.raises(kind) as failed:
            async with backends.from_url(url, backends.Options(command_timeout_s=1.0)):
                pass
    assert "\n" not in str(failed.value)
    return str(failed.value)


async def test_a_wrong_name_is_one_line_with_the_names_that_exist(stable_group: Group) -> None:
    url = stable_group.url.replace("/sw", "/swx").replace("://", "+push://")
    message = await failure(url, StoreRefusedError)
    assert re.search(r"'swx' .*no master has this name.*the Sentinels know: sw\)", message)


async def test_a_server_that_is_no_sentinel_is_one_line(stable_group: Group) -> None:
    port = port_of(stable_group.nodes[0])
    assert "Sentinel" in await failure(f"redis+sentinel+push://127.0.0.1:{port}/sw", StoreRefusedError)


async def test_the_right_to_ask_for_the_role_is_named_if_it_is_missing(stable_group: Group) -> None:
    rights = ("on", ">hidden", "~*", "&*", "+@all", "-role")
    ask(port_of(stable_group.nodes[0]), "ACL", "SETUSER", "without_role", *rights)
    message = await failure(stable_group.url.replace("://", "+push://without_role:hidden@"), StoreRefusedError)
    assert re.search(r"'role' command.*this user needs: ACL SETUSER .* \+role$", message)


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


async def test_rediss_is_tls_to_servers_and_sentinels() -> None:
    dialer = Sentinels("rediss+sentinel://h1/sw?ssl_cert_reqs=none", backends.Options(), print)
    async with dialer._client() as client:
        pools = [dialer._pool, *(sentinel.connection_pool for sentinel in client.sentinels)]
    assert [pool.connection_class for pool in pools] == [SSLConnection] * 2
    assert {pool.connection_kwargs["ssl_cert_reqs"] for pool in pools} == {"none"}
