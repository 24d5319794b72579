"""Stores by URL: the delivery in it, servers of yours, and errors that name the variable and no password."""

import re
import socket

import pytest

from bench.system.embedded import StoreError
from bench.system.environment import URL_VARIABLES
from bench.system.servers import SERVERS
from bench.system.store_urls import EXAMPLES, for_asyncpg
from bench.system.stores import Store, open_store
from bench.workload.scenario import PlanError


@pytest.fixture(params=sorted(SERVERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    """The address of this session's server of the kind."""
    return str(request.getfixturevalue(f"{kind}_url"))


def test_the_delivery_is_in_the_url_for_the_service(kind: str, url: str) -> None:
    store = Store(kind, url, "embedded")
    assert store.strategy_url("push") == url.replace(f"{kind}://", f"{kind}+push://")
    store.url = "postgresql://a:b@c/d"
    assert store.strategy_url("timer") == f"{kind}+timer://a:b@c/d"
    store.url = "rediss://a:b@c/0"
    assert store.strategy_url("push") == "rediss+push://a:b@c/0"  # TLS stays
    store.close()


def test_a_server_of_yours_is_used_when_its_variable_is_set(
    kind: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLES[kind], url)
    for _ in range(2):  # it is not ours to stop
        with open_store(kind) as store:
            assert (store.url, store.how) == (url, "url")


@pytest.mark.parametrize("user", ["", "me:secret@"])
def test_a_dead_url_names_the_variable_and_no_password(kind: str, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        monkeypatch.setenv(URL_VARIABLES[kind], f"{kind}://{user}127.0.0.1:{port}/0")
        with pytest.raises(StoreError) as refused, open_store(kind):
            pass
    assert URL_VARIABLES[kind] in str(refused.value)
    assert f"at 127.0.0.1:{port}" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("nonsense", " 'nonsense'"),
        ("localhost:6379", " 'localhost:6379'"),
        ("mysql://h/d", ""),
        ("me:secret@localhost", ""),
        ("redis:/me:secret@h", ""),
    ],
)
def test_an_invalid_url_is_rejected(kind: str, monkeypatch: pytest.MonkeyPatch, value: str, shown: str) -> None:
    monkeypatch.setenv(URL_VARIABLES[kind], value)
    with pytest.raises(PlanError) as refused, open_store(kind):
        pass
    assert str(refused.value) == f"{URL_VARIABLES[kind]}{shown} is no URL: {EXAMPLES[kind]}"


@pytest.mark.parametrize("character", "#/?")
@pytest.mark.parametrize("user", ["me", ""])
def test_no_part_of_a_raw_password_is_shown(
    kind: str, monkeypatch: pytest.MonkeyPatch, user: str, character: str
) -> None:
    for password in (f"12{character}secret", f"hidden{character}secret"):
        monkeypatch.setenv(URL_VARIABLES[kind], f"{kind}://{user}:{password}@127.0.0.1:1/0")
        with pytest.raises(PlanError, match="percent-encoded") as refused, open_store(kind):
            pass
        assert not re.search("12|hidden|secret", str(refused.value))


def test_a_url_in_the_form_of_libpq_is_accepted(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres_url.replace("postgres://", "postgresql+asyncpg://")
    monkeypatch.setenv("DATABASE_URL", f"{url}?sslmode=prefer&channel_binding=prefer&connect_timeout=5")
    with open_store("postgres") as store:
        assert store.strategy_url("push").startswith("postgres+push://")
    assert for_asyncpg("postgres://me:p@ss:w%25@h:1/d") == "postgres://me:p%40ss%3Aw%25@h:1/d"
