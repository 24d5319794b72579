"""Backend URLs: supported and refused options; no message contains a part of a secret."""

import asyncio
import re
import socket
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

import backends
from backends import BackendUrlError, StoreRefusedError, StoreUnavailableError
from backends.delivery import Delivery
from backends.store_url import StoreUrl
from tests.backends.failover import sql
from tests.conftest import namespace

SCHEMES = ["redis+push", "rediss+timer", "redis", "postgres+push", "postgresql+poll", "postgresql+asyncpg"]
SECRET = re.compile("1234|hidden|secret")


async def failure(url: str) -> tuple[str, str]:
    """The message that `python -m server` shows, and the traceback with all causes, as in its log."""
    with pytest.raises(backends.BackendError) as failed:
        async with backends.from_url(url, backends.Options(namespace=namespace(), command_timeout_s=1.0)):
            pass
    assert "\n" not in str(failed.value)
    return str(failed.value), "".join(traceback.format_exception(failed.value))


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "login",
    [
        *(f"{user}:{first}{sign}secret@" for user in ("me", "") for first in ("hidden", "1234") for sign in "#/?"),
        "me:hidden%secret@",
        "me:hidden%2@",
        "me:1234/hidden@secret@",
        "me:hidden@1234?secret@",
        "hidden/secret@",
    ],
)
async def test_a_raw_special_character_is_refused_with_advice_and_without_the_secret(scheme: str, login: str) -> None:
    message, shown = await failure(f"{scheme}://{login}127.0.0.1:1/0")
    assert "percent-encode" in message
    assert "%23" in message
    assert not SECRET.search(shown)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "password", ["hidden:secret", "hidden@secret", "hidden[secret", "hidden secret", "h\u2100idden"]
)
async def test_a_valid_password_stays_out_of_messages(scheme: str, password: str, closed_port: int) -> None:
    message, shown = await failure(f"{scheme}://me:{password}@127.0.0.1:{closed_port}/0")
    assert f"127.0.0.1:{closed_port}" in message
    assert not re.search("hidden|secret|idden", shown)


@pytest.mark.parametrize("password", ["a#b/c?d@e%f:g", "p@ss:word", "%41", "ü €", "[", "tab\there"])
@pytest.mark.parametrize("scheme", ["redis", "postgres"])
def test_an_encoded_password_is_decoded_once(scheme: str, password: str) -> None:
    url = StoreUrl.parse(f"{scheme}://me%40corp:{quote(password, safe='')}@host:1/0?a=b%26c")
    assert (url.user, url.password, url.hosts, url.path, url.options) == (
        "me@corp",
        password,
        "host:1",
        "0",
        {"a": "b&c"},
    )
    assert StoreUrl.parse(url.encoded(url.options)) == url
    assert not SECRET.search(repr(StoreUrl.parse(f"{scheme}://hidden:secret@host/0?password=1234")))


@pytest.mark.parametrize(
    "url", ["postgres://h", "postgres://u@h", "postgres://:p@h", "postgres://u:p@h:1,g:2/d", "postgres://?host=%2Ftmp"]
)
def test_missing_parts_stay_missing(url: str) -> None:
    parsed = StoreUrl.parse(url)
    assert parsed.encoded(parsed.options) == url


@pytest.mark.parametrize(
    "hosts", ["host:", "host:port", "host:0", "host:65536", "host:123456", "a..b", "a" * 64, "[::1", "ho st", "[x]:1"]
)
@pytest.mark.parametrize("scheme", ["redis", "postgres"])
def test_an_invalid_host_is_refused_before_the_driver_sees_it(scheme: str, hosts: str) -> None:
    with pytest.raises(BackendUrlError, match="no valid host and port"):
        backends.from_url(f"{scheme}://me:secret@{hosts}/0")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis+push://h/0?nope=secret", "'nope'"),
        ("redis+push://h/0?ssl_certfile=secret", "rediss://"),
        ("rediss+push://h/0?ssl_cert_reqs=nope", "nope"),
        ("redis+push://h/0?socket_timeout=secret", "socket_timeout"),
        ("redis+push://h/0?db", "has no value"),
        ("redis+push://h/secret", "database is not a number"),
        ("redis+push://h,g/0", "several hosts"),
        ("postgres+push://h/d?hostaddr=secret", "'hostaddr'"),
        ("postgres+push://h/d?require_auth=secret", "'require_auth'"),
        ("postgres+push://h/d?gssencmode=require", "'gssencmode=require'"),
        ("postgres+push://h/d?connect_timeout=secret", "'connect_timeout'"),
        ("postgres+push://h/d?application_name", "has no value"),
    ],
)
def test_an_unsupported_option_is_named_without_its_value(url: str, name: str) -> None:
    with pytest.raises(BackendUrlError) as refused:
        backends.from_url(url)
    assert name in str(refused.value)
    assert "secret" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "parameter", ["nope=1", "sslmode=nope", "target_session_attrs=nope", "port=nope", "statement_timeout=x"]
)
async def test_an_unknown_postgres_parameter_is_named(postgres_url: str, parameter: str) -> None:
    url = f"{postgres_url.replace('://', '+push://')}?{parameter}"
    with pytest.raises(BackendUrlError, match="correct the backend URL") as refused:
        async with backends.from_url(url):
            pass
    assert parameter.partition("=")[0] in str(refused.value)


@asynccontextmanager
async def started(url: str, query: str) -> AsyncIterator[tuple[Delivery, list[Any]]]:
    """A worker, and the application names of its connections at the server."""
    options = backends.Options(namespace=namespace("urls"))
    async with backends.from_url(f"{url}?{query}", options) as worker, worker.watch("chat", "me"):
        yield worker, await worker.store._fetch("SHOW application_name")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "query",
    [
        "sslmode=prefer&channel_binding=prefer&connect_timeout=10",
        "sslmode=disable&channel_binding=require&gssencmode=prefer&sslcertmode=allow",
        "keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=1000",
        "target_session_attrs=any&load_balance_hosts=disable&fallback_application_name=x&client_encoding=utf8",
        "target_session_attrs=primary&sslsni=1&sslcompression=0&requiressl=0&connect_timeout=0",
        "ssl=false&search_path=public&statement_timeout=5000",
    ],
)
@pytest.mark.parametrize("scheme", ["postgres+push", "postgresql+asyncpg", "postgres+asyncpg+push", "postgresql+timer"])
async def test_parameters_of_libpq_are_accepted(
    postgres_url: str, scheme: str, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(postgres_url.replace("postgres", scheme, 1), query) as (worker, names):
        assert worker.name == ("timer" if scheme.endswith("timer") else "push")
        assert [tuple(row) for row in names] == [(f"{namespace('urls')}-commands",)]
    assert ("channel_binding=require has no effect" in caplog.text) == ("=require" in query)


async def test_postgres_settings_reach_every_connection(postgres_url: str) -> None:
    query = "application_name=my%20chats&options=-c%20statement_timeout%3D7s"
    async with started(postgres_url.replace("://", "+push://"), query) as (worker, names):
        assert [tuple(row) for row in names] == [("my chats",)]
        ((timeout,),) = await worker.store._fetch("SHOW statement_timeout")  # type: ignore[attr-defined]
        assert timeout == "7s"
        seen = await sql(postgres_url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'my chats'")
        assert seen == 3  # two for statements, and the listener


async def test_redis_options_are_accepted(redis_url: str) -> None:
    query = "socket_connect_timeout=1&protocol=3&decode_responses=true&max_connections=5&health_check_interval=3&db=1"
    url = f"{redis_url.replace('://', '+push://')}?{query}"
    async with backends.from_url(url) as worker, worker.watch("chat", "me") as signal:
        await worker.abort("chat", "me")
        await signal.wait()


@pytest.mark.parametrize(
    ("url", "strategy"),
    [
        ("redis://h/0", "redis-push"),
        ("rediss://h/0", "redis-push"),
        ("REDIS+POLL://h/0", "redis-poll"),
        ("postgresql+asyncpg://h/d", "postgres-push"),
        ("postgresql+psycopg2+timer://h/d", "postgres-timer"),
        ("postgresql+poll+asyncpg://h/d", "postgres-poll"),
        ("memory://", "memory-push"),
    ],
)
def test_the_strategy_of_a_url(url: str, strategy: str) -> None:
    worker = backends.from_url(url)
    assert f"{worker.store.name}-{worker.name}" == strategy


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nope",
        "nope://",
        "memory+timer://",
        "redis+nope://h",
        "redis+push+poll://h",
        "mysql://me:secret@h/d",
        "me:secret@h",
    ],
)
def test_a_url_without_a_strategy_lists_the_choices(url: str) -> None:
    with pytest.raises(BackendUrlError, match=r"names no strategy; choose one of memory\+poll://.*none://$") as refused:
        backends.from_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("kind", ["redis", "postgres"])
async def test_a_wrong_password_is_refused_with_the_servers_message(request: pytest.FixtureRequest, kind: str) -> None:
    address = urlsplit(request.getfixturevalue(f"{kind}_url"))
    url = f"{kind}+push://bench:hidden-secret@{address.hostname}:{address.port}{address.path}"
    with pytest.raises(StoreRefusedError, match=r"password.*percent-encoded"):
        async with backends.from_url(url):
            pass
    message, shown = await failure(url)
    assert f"{address.hostname}:{address.port}" in message
    assert not SECRET.search(shown)


@pytest.mark.parametrize("scheme", ["redis+push", "postgres+push"])
async def test_an_unresolvable_host_is_not_a_url_error(scheme: str) -> None:
    with pytest.raises(StoreUnavailableError, match=r"at no-such-host.invalid:1: "):
        async with asyncio.timeout(10), backends.from_url(f"{scheme}://no-such-host.invalid:1/0"):
            pass
