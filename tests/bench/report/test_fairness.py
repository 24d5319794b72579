"""The fairness card: the facts it states of the backends are those of the code, the rest is the record's."""

from __future__ import annotations

import inspect
from pathlib import Path

import msgspec
import pytest

from backends import Options
from backends.postgres.pool import Pool
from backends.postgres.sql import SCHEMA
from backends.postgres.store import PostgresStore
from backends.redis.store import RedisStore
from bench.analysis.reading import Run, read_run
from bench.record.base import read_file
from bench.record.manifest import Manifest
from bench.record.summary import Summary, SummaryCase
from bench.report.pages import table, terms
from bench.report.tables import INTERVAL_MS, cards_of, facts_of
from bench.system import servers


def test_what_is_said_of_the_backends_is_true() -> None:
    most = inspect.signature(PostgresStore).parameters["connections"].default
    assert f"at most {most} connections" in terms("conditions", "commands")["postgres"]
    assert "connections" not in inspect.signature(RedisStore).parameters  # nothing to say how many: it is one
    assert Options().interval_ms == INTERVAL_MS
    assert "unlogged" in terms("conditions", "kept")["postgres"]
    assert "UNLOGGED" in SCHEMA
    assert '"synchronous_commit": "off"' in inspect.getsource(Pool)
    assert '"--save", ""' in inspect.getsource(servers.redis_server)
    assert "appendonly" not in inspect.getsource(servers.redis_server)


def test_the_stores_of_the_table_are_those_of_the_cards() -> None:
    lives = table("lives", lives=terms("conditions", "lives"), text=True)
    assert [row[0] for row in lives.rows] == list(terms("conditions", "kept"))


@pytest.fixture(scope="module")
def run(rich: Path) -> Run:
    return read_run(rich)


@pytest.fixture(scope="module")
def cases(rich: Path) -> list[SummaryCase]:
    return read_file(rich / "summary.json", Summary).cases


@pytest.fixture
def cards(run: Run, cases: list[SummaryCase]) -> dict[str, dict[str, str]]:
    return {card.strategy: dict(card.facts) for card in cards_of(cases, run.manifest, run.cases)}


def test_each_strategy_has_its_conditions_and_no_other_s(cards: dict[str, dict[str, str]]) -> None:
    assert set(cards["redis-push"]) == {"measured", "delivery", "flag", "store", "driver", "pool", "connections held"}
    assert cards["redis-push"]["store"] == "valkey 9.1.2 (embedded)"
    assert cards["redis-push"]["driver"] == "redis 8.1.0"
    assert (
        "one connection for commands per worker, which all of its chats share; another to listen"
        in cards["redis-push"]["pool"]
    )
    assert "listen" not in cards["redis-poll"]["pool"]
    assert cards["postgres-timer"]["interval"].startswith("100 ms by default; this run did not record")
    assert set(cards["memory-push"]) == {"measured", "delivery", "flag"}
    assert set(cards["none"]) == set(cards["disconnect"]) == {"measured", "abort"}
    assert "floor" not in cards


def test_connections_are_those_that_were_counted(
    cards: dict[str, dict[str, str]], run: Run, cases: list[SummaryCase]
) -> None:
    assert cards["redis-push"]["connections held"] == "3 to 12 at the end of a load"
    without = [msgspec.structs.replace(row, connections=None) for row in run.cases]
    (card,) = [each for each in cards_of(cases, run.manifest, without) if each.strategy == "redis-push"]
    assert dict(card.facts)["connections held"] == "not counted in this run"


@pytest.mark.parametrize(
    ("service", "words"),
    [({"ABORT_INTERVAL_MS": "50"}, "50 ms (ABORT_INTERVAL_MS)"), ({}, "100 ms (the default)")],
)
def test_the_interval_is_that_of_the_run(
    run: Run, cases: list[SummaryCase], service: dict[str, str], words: str
) -> None:
    older = msgspec.structs.replace(run.manifest, settings={**run.manifest.settings, "service": service})
    cards = {each.strategy: each for each in cards_of(cases, older, run.cases)}
    assert dict(cards["redis-timer"].facts)["interval"] == words
    settings = dict(facts_of(Manifest(settings={"workers": 2, "service": service})))["settings"]
    assert settings == ("workers 2; service ABORT_INTERVAL_MS=50" if service else "workers 2")
    now = msgspec.structs.replace(run.manifest, environment=service)
    cards = {each.strategy: each for each in cards_of(cases, now, run.cases)}
    assert dict(cards["redis-timer"].facts)["interval"] == words
    assert dict(facts_of(now)).get("environment") == ("ABORT_INTERVAL_MS 50" if service else None)


def test_the_facts_are_words_and_the_command_repeats_the_run() -> None:
    settings = {"backend": "redis", "workers": 2, "quick": False, "starve": False, "strategies": ["none", "redis-push"]}
    scenario = {"ttft_ms": 100, "itl_ms": 20, "output_tokens": 75, "rate_per_s": 80, "stall_ms": 0, "whole": False}
    made = {"settings": settings, "seed": 1, "scenarios": {"flowing": scenario}, "host": {"cpus": 2, "memory_gb": 23.5}}
    facts = dict(facts_of(msgspec.convert(made, Manifest)))
    assert not {word for text in facts.values() for word in ("False", "None", "_ms", "[") if word in text}
    assert facts["settings"] == "backend redis; workers 2; strategies none, redis-push"
    assert facts["scenario flowing"].startswith(
        "first token after 100 ms; a token every 20 ms; output tokens 75; chats"
    )
    assert facts["host"] == "CPUs 2; memory 23.5 GB"
    assert facts["repeat it"] == 'make bench SCENARIO=flowing BACKEND=redis WORKERS=2 ARGS="--seed 1"'
    assert "repeat it" not in dict(facts_of(Manifest(settings={"base": "main"})))
