"""Redis Cluster: slots that are being moved, listeners that are kept, and what is wrong in the URL or the cluster."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import SSLConnection
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as LostError

import backends
from backends import AbortOutcome, BackendError, BackendUrlError, StoreRefusedError, StoreUnavailableError
from backends.base import Chat, ChatKey
from backends.delivery import Delivery
from backends.redis.cluster import Cluster
from backends.redis.dial import Dialer
from backends.redis.keys import BUCKETS, bucket_of
from backends.redis.slots import is_transient, redirect, slot_map, slot_of
from backends.redis.url import cluster_url
from tests.backends.cluster_faults import BUCKET, NAMES, SLOT, begin_move, chats, end_move
from tests.backends.clusters import MASTERS, ClusterServers, Place, cluster_servers
from tests.backends.conftest import until
from tests.backends.fault_load import NAMESPACE

START_S = 4.0
OPTIONS = backends.Options(namespace=NAMESPACE, command_timeout_s=1.0)


@pytest.fixture(scope="module")
def servers() -> Iterator[ClusterServers]:
    with cluster_servers((Place(),) * MASTERS) as servers:
        yield servers


@asynccontextmanager
async def opened(servers: ClusterServers, delivery: str = "push", **options: Any) -> AsyncIterator[Delivery]:
    url = servers.url.replace("://", f"+{delivery}://")
    async with backends.from_url(url, replace(OPTIONS, **options)) as worker:
        yield worker


async def test_aborts_are_pushed_while_a_slot_is_being_moved(servers: ClusterServers) -> None:
    """To chats whose record is still there, has been moved, and never was there."""
    ids = chats("moving")
    stays, moves, starts = next(ids), next(ids), next(ids)
    source, target = servers.nodes[:2]
    async with (
        opened(servers) as owner,
        opened(servers) as stopper,
        owner.watch(stays, "me") as staying,
        owner.watch(moves, "me") as moved,
    ):
        begin_move(servers)
        source.ask("MIGRATE", target.place.host, target.port, NAMES.chat(moves), 0, 1000)
        async with owner.watch(starts, "me") as started:
            for each in (stays, moves, starts):
                assert await stopper.abort(each, "me") is AbortOutcome.ACCEPTED
            async with asyncio.timeout(OPTIONS.heartbeat_s):  # before anything else reads their flags
                await asyncio.gather(staying.wait(), moved.wait(), started.wait())
            assert owner.counters.recovered_aborts == 0
            end_move(servers)
    begin_move(servers, back=True)
    end_move(servers, back=True)


async def test_a_worker_starts_while_a_slot_is_being_moved(servers: ClusterServers) -> None:
    servers.nodes[0].ask("DEL", NAMES._tag(BUCKET))  # of an earlier listener: a key that is not there is ASKed for
    begin_move(servers)
    try:
        url = servers.url.replace("://", "+push://")
        workers = (backends.from_url(url, OPTIONS) for _ in range(1000))
        async with next(each for each in workers if bucket_of(each.worker) == BUCKET) as worker:
            assert worker.ready  # its own heartbeat was received
            assert worker.counters.deaf == 0
    finally:
        end_move(servers)
        begin_move(servers, back=True)
        end_move(servers, back=True)


async def test_the_connections_to_other_masters_are_kept_after_a_loss(servers: ClusterServers) -> None:
    def listeners() -> list[set[str]]:
        lists = [node.ask("CLIENT", "LIST", "TYPE", "pubsub").decode().splitlines() for node in servers.nodes]
        return [{line.split()[0] for line in lines} for lines in lists]

    async with opened(servers) as worker:
        await until(lambda: [len(each) for each in listeners()] == [1] * MASTERS)  # those of earlier tests are gone
        before = listeners()
        servers.nodes[0].ask("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: worker.counters.reconnected)
        after = listeners()
        assert [len(each) for each in after] == [1] * MASTERS
        assert [old == new for old, new in zip(before, after, strict=True)] == [False, True, True]


async def test_two_workers_may_listen_over_the_same_store(servers: ClusterServers) -> None:
    received: asyncio.Queue[ChatKey | None] = asyncio.Queue()
    async with opened(servers) as worker, worker.store.listen("other", received.put_nowait):
        for number in range(BUCKETS):
            mine, theirs = (Chat(f"{name}-{number}", "1", "me", name) for name in (worker.worker, "other"))
            for chat in (mine, theirs):
                await worker.store.register(chat)
                await worker.store.flag(chat.request_id, "me", remember=False)
            async with asyncio.timeout(START_S):
                assert await received.get() == theirs.key


async def test_a_slot_that_nobody_serves_loses_no_abort(servers: ClusterServers) -> None:
    chat, master = next(chats("unserved")), servers.nodes[0]
    async with opened(servers, remember_s=60) as owner, opened(servers) as stopper, owner.watch(chat, "me") as signal:
        master.ask("CLUSTER", "DELSLOTS", SLOT)
        try:
            with pytest.raises(StoreUnavailableError, match=r"cluster .*: (CLUSTERDOWN|no master serves the slot)"):
                await stopper.abort(chat, "me")
            assert not signal.aborted
            message = await failure(servers.url.replace("://", "+push://"), StoreUnavailableError)
            assert re.search("CLUSTERDOWN|no master serves the slot", message)
        finally:
            master.ask("CLUSTER", "ADDSLOTS", SLOT)
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await stopper.abort(chat, "me") is AbortOutcome.ACCEPTED
                    break
                except StoreUnavailableError:
                    continue
            await signal.wait()
        await until(lambda: owner.ready and stopper.ready)


async def failure(url: str, kind: type[BackendError]) -> str:
    """The message at start, within START_S."""
    async with asyncio.timeout(START_S):
        with pytest.raises(kind) as failed:
            async with backends.from_url(url, OPTIONS):
                pass
    assert "\n" not in str(failed.value)
    return str(failed.value)


async def test_nodes_that_do_not_answer_are_one_line() -> None:
    with socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as silent:
        closed.bind(("127.0.0.1", 0))
        hosts = ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in (closed, silent))
        message = await failure(f"redis+cluster+push://{hosts}", StoreUnavailableError)
    assert f"cluster {hosts}: no node answers: " in message


async def test_a_server_that_is_in_no_cluster_is_one_line(redis_url: str) -> None:
    message = await failure(redis_url.replace("redis://", "redis+cluster+push://"), StoreRefusedError)
    assert "cluster support disabled" in message


async def test_missing_rights_are_named(servers: ClusterServers) -> None:
    for node in servers.nodes:
        node.ask("ACL", "SETUSER", "without_slots", "on", ">hidden", "~*", "&*", "+@all", "-cluster|slots")
    message = await failure(servers.url.replace("://", "+push://without_slots:hidden@"), StoreRefusedError)
    assert re.search(r"this user needs: ACL SETUSER .* \+cluster\|slots \+asking$", message)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis+cluster+push://h1,h2/1", "only the database 0"),
        ("redis+cluster+push://h1,h2?db=1", "only the database 0"),
        ("redis+cluster+push://", "no node of the cluster"),
        ("redis+cluster+push://h1,,h2", "no node of the cluster"),
        ("redis+cluster+push://h1?nonsense=1", "nonsense"),
        ("redis+cluster+pull://h1", "choose one of"),
        ("redis+push://h1,h2/0", r"redis\+cluster://"),
    ],
)
def test_a_url_that_cannot_be_right_is_refused(url: str, words: str) -> None:
    with pytest.raises(BackendUrlError, match=words):
        backends.from_url(url)


def test_nodes_have_a_default_port_and_the_login_stays_out_of_messages() -> None:
    parsed = cluster_url("rediss+cluster://me:secret@h1,[::1]:5000/0")
    assert parsed.nodes == [("h1", 6379), ("::1", 5000)]
    assert parsed.node_url == "rediss://me:secret@127.0.0.1"
    assert "secret" not in repr(parsed)
    assert isinstance(Cluster("rediss+cluster://h1?ssl_cert_reqs=none", OPTIONS)._connection("x"), SSLConnection)


def test_a_password_does_not_select_the_kind_of_store() -> None:
    for kind in ("cluster", "sentinel"):
        dialer = backends.from_url(f"redis+push://me:a+{kind}:b@h1:1/0").store._dialer  # type: ignore[attr-defined]
        assert type(dialer) is Dialer


def test_slots_follow_the_specification_of_redis_cluster() -> None:
    assert slot_of(("GET", "123456789")) == 0x31C3  # the specification's own example
    assert slot_of(("GET", "{user1000}.following")) == slot_of(("EVALSHA", "id", 1, "{user1000}.followers"))
    assert slot_of(("GET", "foo{}{bar}")) == slot_of(("GET", "foo{}{bar}")) != slot_of(("GET", "bar"))
    assert slot_of(("GET", "foo{{bar}}zap")) == slot_of(("GET", "{bar"))


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ResponseError("TRYAGAIN Multiple keys request during rehashing of slot"), True),
        (ResponseError("CLUSTERDOWN The cluster is down"), True),
        (ResponseError("LOADING Valkey is loading the dataset in memory"), True),
        (LostError("the connection was lost"), True),
        (TimeoutError(), True),
        (AuthenticationError("WRONGPASS invalid username-password pair"), False),
        (ResponseError("OOM command not allowed when used memory > 'maxmemory'."), False),
        (ResponseError("NOPERM this user has no permissions to run the 'set' command"), False),
    ],
)
def test_only_errors_that_may_pass_are_waited_for(error: Exception, *, transient: bool) -> None:
    assert is_transient(error) is transient


def test_a_node_may_leave_out_its_own_address() -> None:
    asked = ("h1", 7000)
    found = slot_map([[0, 16383, [None, 7001, b"id"], [b"h2", 7002, b"id", []]]], asked)
    assert (found.slots[0], found.slots[-1]) == (("h1", 7001), ("h1", 7001))
    assert (found.masters, found.nodes) == ({("h1", 7001)}, {("h1", 7001), ("h2", 7002)})
    assert redirect(ResponseError("MOVED 5 :7003"), asked) == ("MOVED", 5, ("h1", 7003))
    assert redirect(ResponseError("ASK 5 ::1:7003"), asked) == ("ASK", 5, ("::1", 7003))
    assert redirect(ResponseError("ERR MOVED"), asked) is None
