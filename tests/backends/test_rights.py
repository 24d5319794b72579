"""Users and roles with limited rights: the documented ones suffice, fewer are refused with the missing ones."""

import asyncio
import re
import secrets
from pathlib import Path

import pytest

import backends
from backends import AbortOutcome, StoreRefusedError
from backends.postgres import sql as sql_statements
from backends.redis.errors import acl_line
from bench.system.embedded import EmbeddedServer
from tests.backends.conftest import until
from tests.backends.failover import redis_do, sql
from tests.backends.servers import BreakableServers
from tests.conftest import namespace

DEADLINE_S = 5.0
DOCS = (Path(__file__).parents[2] / "docs" / "stores.md").read_text(encoding="utf-8")


def url_for(server: EmbeddedServer, user: str, delivery: str = "push") -> str:
    address = server.url.partition("://")[2].rpartition("@")[2]
    return f"{server.name}+{delivery}://{user}:word-{user}@{address}"


async def stop_a_chat(url: str, options: backends.Options) -> None:
    """Every operation of a worker on its store."""
    async with (
        asyncio.timeout(DEADLINE_S),
        backends.from_url(url, options) as owner,
        backends.from_url(url, options) as other,
    ):
        async with owner.watch("chat", "me") as signal:
            assert await other.abort("chat", "me") is AbortOutcome.ACCEPTED
            while not signal.aborted:
                await (signal.poll() if signal.poll is not None else asyncio.sleep(0.01))
            await owner.store.renew([owner._live["chat"].chat])
            await other.store.reassert([owner._live["chat"].chat])
        assert await other.abort("early", "me") is AbortOutcome.REMEMBERED


async def refused(url: str, options: backends.Options) -> str:
    with pytest.raises(StoreRefusedError) as caught:
        async with asyncio.timeout(DEADLINE_S), backends.from_url(url, options):
            pass
    message = str(caught.value)
    assert "\n" not in message
    assert "word-" not in message
    return message


# Redis


@pytest.fixture
def redis(servers: BreakableServers) -> EmbeddedServer:
    return servers.embedded("redis")


async def make_user(server: EmbeddedServer, line: str, *more: str) -> str:
    name = f"user-{secrets.token_hex(4)}"
    command, setuser, placeholder, *rules = line.split()
    assert placeholder == "USER"
    await redis_do(server, command, setuser, name, "reset", "on", f">word-{name}", *rules, *more)
    return name


@pytest.mark.parametrize("delivery", ["push", "timer", "poll"])
async def test_the_acl_line_suffices(redis: EmbeddedServer, delivery: str) -> None:
    options = backends.Options(namespace=namespace("acl"), interval_ms=20)
    user = await make_user(redis, acl_line(options.namespace, "SPUBLISH" if delivery == "push" else ""))
    await stop_a_chat(url_for(redis, user, delivery) + "?db=1", options)


@pytest.mark.parametrize(
    "less",
    [
        "resetchannels",
        "resetkeys",
        *(
            f"-{right}"
            for right in re.findall(r"\+(\S+)", acl_line("any", "SPUBLISH"))
            if right not in ("ping", "select")
        ),
    ],
)
async def test_less_than_the_acl_line_is_refused_with_it(redis: EmbeddedServer, less: str) -> None:
    options = backends.Options(namespace=namespace("less"))
    line = acl_line(options.namespace, "SPUBLISH")
    rules = ["resetkeys", "~other:*"] if less == "resetkeys" else [less]
    user = await make_user(redis, line, *rules)
    await redis_do(redis, "SCRIPT", "FLUSH")  # else EVALSHA would find a script of an earlier test
    message = await refused(url_for(redis, user), options)
    assert "permissions to" in message  # the server's message
    assert message.endswith(f"; this user needs: {line}")


async def test_a_wrong_password_is_named_in_the_message(redis: EmbeddedServer) -> None:
    message = await refused(redis.url.replace("redis://", "redis+push://bob:word-wrong@"), backends.Options())
    assert re.search(r"invalid username-password pair.*percent-encoded$", message)


@pytest.mark.parametrize("less", ["-eval -evalsha", "resetchannels", "resetkeys", "off"])
async def test_a_right_that_is_revoked_later_is_logged_and_not_ready(
    redis: EmbeddedServer, less: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = backends.Options(namespace=namespace(f"later_{less.split(maxsplit=1)[0].strip('-')}"), ttl_s=0.6)
    line = acl_line(options.namespace, "SPUBLISH")
    user = await make_user(redis, line)
    async with backends.from_url(url_for(redis, user), options) as worker, worker.watch("chat", "me") as signal:
        await redis_do(redis, "ACL", "SETUSER", user, *less.split())
        if less == "off":
            await redis_do(redis, "CLIENT", "KILL", "USER", user)
        await until(lambda: not worker.ready)
        await until(lambda: any("Redis at" in each.getMessage() for each in caplog.records))
        await redis_do(redis, "ACL", "SETUSER", user, "on", *line.split()[3:])
        await until(lambda: worker.ready)
        await worker.abort("chat", "me")
        await until(lambda: signal.aborted)


async def test_an_abort_that_cannot_be_published_is_not_accepted(redis: EmbeddedServer) -> None:
    """Nor is a retry, which must not find a flag whose message was never sent."""
    options = backends.Options(namespace=namespace("unpublished"))
    line = acl_line(options.namespace, "SPUBLISH")
    user = await make_user(redis, line)
    url = url_for(redis, user)
    async with (
        backends.from_url(url, options) as owner,
        backends.from_url(url, options) as other,
        owner.watch("chat", "me") as signal,
    ):
        await redis_do(redis, "ACL", "SETUSER", user, "-spublish")
        for _ in range(2):
            with pytest.raises(StoreRefusedError, match="permissions to run the 'spublish' command"):
                await other.abort("chat", "me")
        await redis_do(redis, "ACL", "SETUSER", user, "+spublish")
        assert await other.abort("chat", "me") is AbortOutcome.ACCEPTED
        async with asyncio.timeout(DEADLINE_S):
            await signal.wait()


# PostgreSQL


@pytest.fixture
def postgres(servers: BreakableServers) -> EmbeddedServer:
    return servers.embedded("postgres")


async def make_role(server: EmbeddedServer) -> str:
    name = f"role_{secrets.token_hex(4)}"
    await sql(server.url, f"CREATE ROLE {name} LOGIN PASSWORD 'word-{name}'")
    return name


async def create_as_admin(server: EmbeddedServer, schema: str, role: str, *grants: str) -> None:
    grants = grants or sql_statements.GRANTS
    statements = [each for each in sql_statements.SCHEMA.format(schema=schema).split(";") if each.strip()]
    await sql(server.url, *statements, *(grant.format(schema=schema).replace("ROLE_NAME", role) for grant in grants))


@pytest.mark.parametrize("delivery", ["push", "timer", "poll"])
async def test_the_grants_suffice_if_an_admin_created_the_table(postgres: EmbeddedServer, delivery: str) -> None:
    options = backends.Options(namespace=namespace(f"granted_{delivery}"), interval_ms=20)
    role = await make_role(postgres)
    await create_as_admin(postgres, options.namespace, role)
    assert not await sql(postgres.url, f"SELECT has_database_privilege('{role}', current_database(), 'CREATE')")
    await stop_a_chat(url_for(postgres, role, delivery), options)


async def test_create_suffices_if_there_is_no_table(postgres: EmbeddedServer) -> None:
    options = backends.Options(namespace=namespace("creates"))
    role = await make_role(postgres)
    grant = sql_statements.GRANT_CREATE.replace("ROLE_NAME", role).replace("DATABASE_NAME", "postgres")
    await sql(postgres.url, grant)
    await stop_a_chat(url_for(postgres, role), options)


@pytest.mark.parametrize("missing", ["CREATE", "USAGE", "SELECT", "INSERT", "UPDATE", "DELETE"])
async def test_fewer_grants_are_refused_with_those_needed(postgres: EmbeddedServer, missing: str) -> None:
    options = backends.Options(namespace=namespace(f"no_{missing.lower()}"))
    role = await make_role(postgres)
    if missing != "CREATE":
        await create_as_admin(postgres, options.namespace, role)
        kind, thing = ("SCHEMA ", "") if missing == "USAGE" else ("", ".chats_v1")
        await sql(postgres.url, f"REVOKE {missing} ON {kind}{options.namespace}{thing} FROM {role}")
    message = await refused(url_for(postgres, role), options)
    assert "permission denied for" in message
    for grant in (*sql_statements.GRANTS, sql_statements.GRANT_CREATE):
        assert grant.format(schema=options.namespace) in message


async def test_a_grant_that_is_revoked_later_is_logged_and_not_ready(
    postgres: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    options = backends.Options(namespace=namespace("revoked"), ttl_s=0.6)
    role = await make_role(postgres)
    await create_as_admin(postgres, options.namespace, role)
    async with backends.from_url(url_for(postgres, role), options) as worker, worker.watch("chat", "me"):
        await sql(postgres.url, f"REVOKE INSERT ON {options.namespace}.chats_v1 FROM {role}")
        await until(lambda: not worker.ready)
        await until(lambda: any("permission denied for" in each.getMessage() for each in caplog.records))
        await sql(postgres.url, f"GRANT INSERT ON {options.namespace}.chats_v1 TO {role}")
        await until(lambda: worker.ready)
        assert await worker.abort("chat", "me") is AbortOutcome.ACCEPTED


@pytest.mark.parametrize("gone", ["DROP SCHEMA {} CASCADE", "DROP TABLE {}.chats_v1"])
async def test_a_dropped_table_that_the_role_cannot_create_is_refused(postgres: EmbeddedServer, gone: str) -> None:
    options = backends.Options(namespace=namespace("dropped"))
    role = await make_role(postgres)
    await create_as_admin(postgres, options.namespace, role)
    async with backends.from_url(url_for(postgres, role), options) as worker:
        await sql(postgres.url, gone.format(options.namespace))
        with pytest.raises(StoreRefusedError, match=r"permission denied for.*GRANT"):
            await worker.abort("chat", "me")
        await create_as_admin(postgres, options.namespace, role)
        assert await worker.abort("chat", "me") is AbortOutcome.REMEMBERED


# Documentation


@pytest.mark.parametrize(
    "line",
    [
        acl_line("stopwatch", "SPUBLISH"),
        acl_line("stopwatch", "PUBLISH"),
        acl_line("stopwatch", ""),
        *(grant.format(schema="stopwatch") for grant in (*sql_statements.GRANTS, sql_statements.GRANT_CREATE)),
        sql_statements.SCHEMA.format(schema="stopwatch").strip(),
    ],
)
def test_the_documentation_has_the_rights_of_the_messages(line: str) -> None:
    assert line in DOCS
