"""The cases of a run: strategies, scenarios, numbers of workers."""

from pathlib import Path

import pytest

import backends
from bench.workload.plan import STRATEGIES, contender_of, select
from bench.workload.scenario import DEFAULT, PlanError


def test_every_strategy_of_the_service_is_measured() -> None:
    assert {*backends.STRATEGIES, "none", "disconnect"} == set(STRATEGIES)


@pytest.mark.parametrize(
    ("backend", "named"),
    [
        ("memory", {"memory-poll", "memory-push"}),
        ("redis", {"redis-poll", "redis-timer", "redis-push"}),
        ("postgres", {"postgres-poll", "postgres-timer", "postgres-push"}),
        ("all", {name for name in backends.STRATEGIES if not name.startswith("nats")}),
    ],
)
def test_reference_points_are_always_measured(backend: str, named: set[str]) -> None:
    *cases, control = select(backend)
    found: dict[str, list[str]] = {}
    for case in cases:
        found.setdefault(case.strategy, []).append(case.scenario.name)
        assert case.workers == 2
    assert found == {name: list(DEFAULT) for name in {"none", "disconnect"} | named}
    assert (control.strategy, control.scenario.name, control.workers) == ("memory-push", "flowing", 1)


def test_strategies_can_be_named_one_by_one() -> None:
    cases = select(strategies=["redis-push", "disconnect"], scenarios=["steady"])
    assert [case.strategy for case in cases] == ["redis-push", "disconnect"]


def test_a_scenario_may_set_its_number_of_workers() -> None:
    assert {case.workers for case in select("redis", ["wrong-worker"], workers=1)} == {4}


def test_store_and_delivery_of_a_case() -> None:
    cases = {case.strategy: case for case in select("redis", ["flowing"])}
    assert (cases["redis-push"].store, cases["redis-push"].delivery) == ("redis", "push")
    assert (cases["none"].store, cases["none"].delivery) == (None, None)
    assert (cases["disconnect"].store, cases["disconnect"].delivery) == (None, None)


def test_a_situation_is_a_scenario(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    stop = '[stop.hangup]\nkind = "hangup"\nsituations = ["floating"]\n'
    file.write_text(f'schema = 1\nname = "mine"\n[start]\nrequest = "GET /"\n{stop}')
    with pytest.raises(PlanError, match=r"mine\.toml: situations floating: choose from flowing"):
        select(strategies=[str(file)], targets=True)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"backend": "mysql"}, ["BACKEND", "mysql", "all, memory, postgres, redis"]),
        ({"scenarios": ["flowing", "gone"]}, ["SCENARIO", "gone", "flowing, stalled, steady", ".toml"]),
        ({"scenarios": ["gone.toml"]}, ["gone.toml", "cannot be read"]),
        ({"scenarios": []}, ["SCENARIO", "flowing, stalled, steady"]),
        ({"strategies": ["redis-pull"]}, ["redis-pull", "redis-push"]),
        ({"strategies": ["mock"]}, ["mock", "redis-push"]),
        ({"strategies": ["mock/hangup"], "scenarios": ["flowing"], "targets": False}, ["mock/hangup", "redis-push"]),
        ({"strategies": ["nobody"], "targets": True}, ["nobody", "redis-push", "*.toml"]),
        ({"strategies": ["mock/cancel"], "targets": True}, ["mock/cancel", "no stop cancel", "hangup"]),
        ({"strategies": ["gone.toml"], "targets": True}, ["gone.toml", "no such file"]),
        ({"strategies": []}, ["empty", "redis-push"]),
        ({"workers": 0}, ["WORKERS", "1 to 64"]),
        ({"workers": 65}, ["WORKERS", "1 to 64"]),
    ],
)
def test_invalid_values_are_rejected_with_the_choices(wrong: dict[str, object], names: list[str]) -> None:
    with pytest.raises(PlanError) as refused:
        select(**wrong)  # type: ignore[arg-type]  # wrong on purpose
    assert all(name in str(refused.value) for name in names)


OWN = "mypackage.mystore:MyStore"


def test_a_store_of_another_package_has_three_strategies_beside_the_references() -> None:
    cases = select(OWN, ["steady"])
    assert {case.strategy for case in cases} == {"none", "disconnect", f"{OWN}-poll", f"{OWN}-timer", f"{OWN}-push"}
    (case,) = (case for case in cases if case.strategy.endswith("-push"))
    assert (case.store, case.delivery) == (OWN, "push")
    assert contender_of(case).target.name == "ours"
    assert {case.strategy for case in select(f"{OWN}-timer", ["steady"])} == {"none", "disconnect", f"{OWN}-timer"}


@pytest.mark.parametrize("backend", ["mystore:", ":MyStore", f"{OWN}-pull", "my store:MyStore"])
def test_what_names_no_class_is_refused(backend: str) -> None:
    with pytest.raises(PlanError, match="MyStore"):
        select(backend, ["steady"])


def test_nats_is_measured_when_it_is_named() -> None:
    assert not any(case.strategy.startswith("nats") for case in select("all", ["steady"]))
    assert {case.store for case in select("nats", ["steady"])} == {None, "nats"}
