"""The measured processes do not depend on the shell's variables; those of --env are passed on and recorded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench.system import environment
from bench.system.procs import Child
from bench.workload.plan import Case, select
from bench.workload.scenario import PlanError
from tests.bench.small_runs import chats_of, execute, manifest_of, shrink_the_instrument, small
from tests.bench.typed import measure

SHELL = {
    "ABORT_TTL_S": "never",
    "ALL_PROXY": "socks://127.0.0.1:9",
    "API_KEYS": "mine",
    "HOST": "0.0.0.0",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "LOCUST_HOST": "http://127.0.0.1:9",
    "LOCUST_RUN_TIME": "1s",
    "LOCUST_USERS": "50",
    "LOG_LEVEL": "nonsense",
    "MAX_CHATS_PER_OWNER": "1",
    "MOCK_FAULT": "http_500",
    "MOCK_STALL_AT": "1",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "OTEL_TRACES_EXPORTER": "console",
    "PGOPTIONS": "-c nonsense=1",
    "PGSSLMODE": "require",
    "PORT": "1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONSAFEPATH": "1",
    "UVICORN_ROOT_PATH": "/elsewhere",
    "WORKERS": "none",
}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell with settings for everything that a run starts, and a home with a Locust configuration."""
    for name, value in SHELL.items():
        monkeypatch.setenv(name, value)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".locust.conf").write_text("users = 50\nheadless = false\nrun-time = 1s\n")
    monkeypatch.setenv("HOME", str(home))


@pytest.mark.usefixtures("shell")
def test_a_child_gets_the_listed_variables_and_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_TIME", "C")
    (tmp_path / "show.py").write_text("import json, os; print(json.dumps(dict(os.environ)))")
    log = tmp_path / "log"
    with Child("show", ["show"], log, env={"WORKERS": "3"}, ready=False, folder=tmp_path) as child:
        assert child.process.wait() == 0
    found = json.loads(log.read_text())
    assert found["WORKERS"] == "3"
    assert {"PATH", "HOME", "LC_TIME"} <= found.keys()
    assert not (SHELL.keys() - {"WORKERS"}) & found.keys()


@pytest.mark.usefixtures("shell")
def test_a_run_measures_the_same_in_any_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_the_instrument(monkeypatch)
    scenario = small("flowing", rate_per_s=None, streams=6, chats=12, output_tokens=30)
    cases = [Case(name, scenario, 2) for name in ("redis-push", "postgres-push")]
    with environment.without_libpq():
        (folder,) = execute(tmp_path / "results", cases, environment={"ABORT_INTERVAL_MS": "70"})
    rows = [row for row in chats_of(folder) if row["scenario"] == "flowing"]
    assert {(row["strategy"], measure(row).error) for row in rows} == {("redis-push", None), ("postgres-push", None)}
    assert {measure(row).outcome for row in rows} == {"stopped", "plain"}
    assert len(rows) == 2 * 12
    manifest = manifest_of(folder)
    assert manifest["environment"] == {"ABORT_INTERVAL_MS": "70"}
    assert "environment" not in manifest["settings"]


def test_libpq_variables_are_back_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "require")
    with environment.without_libpq():
        assert "PGSSLMODE" not in os.environ
    assert os.environ["PGSSLMODE"] == "require"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("ABORT_TTL_S", "is not NAME=VALUE"),
        ("=5", "is not NAME=VALUE"),
        ("A B=5", "is not NAME=VALUE"),
        ("ABORT_BACKEND=redis+push://:secret@host", "the run sets this itself"),
        ("PYTHONPATH=/elsewhere", "the run sets this itself"),
    ],
)
def test_invalid_assignments_are_rejected_without_their_value(given: str, words: str) -> None:
    with pytest.raises(PlanError, match=words) as refused:
        environment.parse([given])
    assert "secret" not in str(refused.value)


def test_assignments_are_sorted_and_may_contain_an_equals_sign() -> None:
    assert list(environment.parse(["B=x=y", "A="]).items()) == [("A", ""), ("B", "x=y")]


@pytest.mark.parametrize(
    ("value", "on"),
    [
        ("1", True),
        ("true", True),
        ("Yes", True),
        ("ON", True),
        ("", False),
        ("0", False),
        ("no", False),
        ("False", False),
    ],
)
def test_a_switch_is_on_or_off(value: str, on: bool) -> None:
    assert environment.switch("QUICK", {"QUICK": value}) is on


def test_a_switch_rejects_other_values_with_the_choices() -> None:
    assert environment.switch("QUICK", {}) is False
    with pytest.raises(PlanError, match=r"QUICK is 'maybe': choose from 1, true, yes, on, 0, false, no, off"):
        environment.switch("QUICK", {"QUICK": "maybe"})


@pytest.mark.parametrize(
    ("environ", "scenarios", "words"),
    [
        ({"REDIS_URL": "redis://h"}, ["outage"], r"outage crashes redis.*unset REDIS_URL$"),
        ({"DATABASE_URL": "postgres://h"}, ["flowing", "outage"], r"unset DATABASE_URL, or .* SCENARIO=flowing$"),
        ({"STORES": "docker"}, ["steady", "outage"], r"unset STORES, or measure the others: SCENARIO=steady$"),
    ],
)
def test_cases_that_crash_a_store_of_the_user_are_rejected(
    environ: dict[str, str], scenarios: list[str], words: str
) -> None:
    with pytest.raises(PlanError, match=words):
        environment.check_crashes(select("all", scenarios), environ)


@pytest.mark.parametrize(
    ("environ", "backend", "scenarios"),
    [
        ({}, "all", ["outage"]),
        ({"STORES": "embedded"}, "all", ["outage"]),
        ({"REDIS_URL": ""}, "redis", ["outage"]),
        ({"REDIS_URL": "redis://h"}, "postgres", ["outage"]),
        ({"REDIS_URL": "redis://h", "STORES": "docker"}, "memory", ["outage"]),
        ({"REDIS_URL": "redis://h", "STORES": "docker"}, "all", ["flowing", "stalled"]),
    ],
)
def test_cases_that_crash_our_own_store_or_none_are_accepted(
    environ: dict[str, str], backend: str, scenarios: list[str]
) -> None:
    environment.check_crashes(select(backend, scenarios), environ)
