"""`python -m server` with a store that it cannot use: one line with the cause and what to do, and exit code 4."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from pydantic import SecretStr
from redis import Redis

from backends import BackendError
from backends.redis.errors import acl_line
from server.settings import Settings
from server.strategy import open_delivery, startup_error
from tests.backends.pgbouncer import needs_pgbouncer, pgbouncer
from tests.conftest import namespace
from tests.server.service import POLL_S, serve, strategy

DEADLINE_S = 40.0
"""Most of it is the start of Python on a busy machine; without a limit of our own it would wait for ever."""

POOLER_REFUSED_S = 2.0


def refusal(*arguments: str, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "server", "--port", "0", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        env=os.environ | environment,
    )
    assert run.returncode == 4, run.stderr
    assert run.stdout == ""
    assert run.stderr.startswith("server: ")
    assert run.stderr.count("\n") == 1
    return run.stderr.removeprefix("server: ").rstrip()


async def startup_message(url: str) -> str:
    """What the same start prints, from inside this process."""
    with pytest.raises(BackendError) as caught:
        async with open_delivery(Settings(abort_backend=SecretStr(url))):
            pass
    return startup_error(caught.value)


@contextmanager
def redis_user(url: str, *rules: str) -> Iterator[str]:
    """The URL of a user with these rights and no others."""
    address = urlsplit(url)
    set_user(url, "reset", "on", ">hidden-secret", *rules)
    yield f"redis+push://bob:hidden-secret@{address.hostname}:{address.port}/0"
    set_user(url, "reset")


def set_user(url: str, *rules: str) -> None:
    with Redis.from_url(url) as admin:
        admin.execute_command("ACL", "SETUSER", "bob", *rules)


async def test_a_strategy_that_does_not_exist_is_answered_with_the_choices() -> None:
    message = await startup_message("nope://")
    assert message.startswith("the backend URL with scheme 'nope' names no strategy; choose one of memory+")
    assert message.endswith("none://")


def test_a_url_that_cannot_be_read_is_refused_without_its_secret() -> None:
    message = refusal(ABORT_BACKEND="redis+push://me:hidden#secret@host/0")
    assert message.startswith("the backend URL cannot be parsed: percent-encode special characters")
    assert "hidden" not in message
    assert "secret" not in message


def test_a_user_without_channels_is_refused_with_the_acl_line(redis_url: str) -> None:
    started_s = time.monotonic()
    with redis_user(redis_url, f"~{namespace()}:*", "+@all") as url:
        message = refusal("--backend", url, "--workers", "2")
    assert message.startswith("Redis at 127.0.0.1:")
    assert "No permissions to access a channel; this user needs: " in message
    assert message.endswith(acl_line(namespace(), "SPUBLISH"))
    assert "hidden-secret" not in message
    assert time.monotonic() - started_s < DEADLINE_S


def test_a_store_that_does_not_answer_is_called_that() -> None:
    message = refusal("--backend", "redis+push://me:hidden-secret@127.0.0.1:1/0")
    assert message.startswith("Redis at 127.0.0.1:1: ")
    assert message.endswith("; start the store, or correct its address in --backend or ABORT_BACKEND")
    assert "hidden-secret" not in message


@needs_pgbouncer
async def test_push_through_a_transaction_pooler_is_refused_with_the_fix(postgres_url: str) -> None:
    with pgbouncer(postgres_url, "transaction") as pooler:
        url = strategy(pooler.url).replace("@", ":hidden-secret@")
        message = await asyncio.to_thread(refusal, "--backend", url, "--workers", "2")
        started_s = time.monotonic()
        assert message == await startup_message(url)
        assert time.monotonic() - started_s < POOLER_REFUSED_S
    assert "?listen=postgres://USER:PASSWORD@HOST:5432/DATABASE" in message
    assert "hidden-secret" not in message


@pytest.mark.parametrize(
    ("query", "named"), [("nope=1", "nope"), ("hostaddr=127.0.0.1", "hostaddr"), ("sslmode=nope", "sslmode")]
)
async def test_a_parameter_that_is_not_understood_is_named(postgres_url: str, query: str, named: str) -> None:
    message = await startup_message(f"{strategy(postgres_url)}?{query}")
    assert named in message
    assert "running" not in message
    assert "start the store" not in message


async def test_a_right_that_is_taken_away_later_is_logged_and_not_ready(redis_url: str, tmp_path: Path) -> None:
    rights = acl_line(namespace(), "SPUBLISH").split()[3:]
    with (
        redis_user(redis_url, *rights) as url,
        (tmp_path / "log").open("w+") as log,
        serve(backend=url, stderr=log, ABORT_HEARTBEAT_S="0.5") as service,
    ):
        async with httpx2.AsyncClient(base_url=service.url) as client:

            async def readiness(status: int) -> None:
                async with asyncio.timeout(DEADLINE_S):
                    while (await client.get("/readyz")).status_code != status:  # noqa: ASYNC110 - see POLL_S
                        await asyncio.sleep(POLL_S)

            await readiness(200)
            set_user(redis_url, "resetchannels", "-evalsha", "-eval")
            await readiness(503)
            assert (await client.post("/abort/", json={"request_id": "any"})).status_code == 503
            set_user(redis_url, *rights)
            await readiness(200)
        log.seek(0)
        written = log.read()
    assert "permissions to" in written
    assert "hidden-secret" not in written
