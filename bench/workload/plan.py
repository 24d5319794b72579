"""The strategies, and the cases of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.workload.scenario import MAX_WORKERS, PlanError, Scenario, load_scenarios
from bench.workload.strategies import DISCONNECT, NONE

STRATEGIES = (
    "memory-poll", "memory-push", "postgres-poll", "postgres-timer", "postgres-push", "redis-poll", "redis-timer",
    "redis-push", "disconnect", "none",
)  # fmt: skip
REFERENCES = (NONE, DISCONNECT)
"""Measured in every run: the cost without aborts, and the stop without a store."""
BACKENDS = ("all", "memory", "postgres", "redis")


@dataclass(frozen=True)
class Case:
    """One strategy in one scenario with a number of workers; each block measures it once."""

    strategy: str
    scenario: Scenario
    workers: int

    @property
    def store(self) -> str | None:
        """`memory`, `postgres`, `redis`; None for the reference points."""
        return store_of(self.strategy)

    @property
    def delivery(self) -> str | None:
        """`poll`, `timer`, `push`; None for the reference points."""
        return delivery_of(self.strategy)


def store_of(strategy: str) -> str | None:
    """The store in `<store>-<delivery>`, None for the reference points and the instrument."""
    return strategy.partition("-")[0] if strategy in STRATEGIES and strategy not in REFERENCES else None


def delivery_of(strategy: str) -> str | None:
    """The delivery in `<store>-<delivery>`, None for the reference points and the instrument."""
    return strategy.partition("-")[2] if store_of(strategy) else None


def served_by(strategy: str) -> str:
    """The strategy of the service for this one: the service of both reference points runs with `none`."""
    return NONE if strategy in REFERENCES else strategy


def check_backend(backend: str) -> None:
    """Raise PlanError, naming the choices, for a value that is neither a store nor a strategy."""
    if backend not in (*BACKENDS, *STRATEGIES):
        raise PlanError(f"BACKEND {backend!r} is unknown: choose from {', '.join((*BACKENDS, *STRATEGIES))}")


def counted_apart(cases: Sequence[Case], *, again: bool, compared: bool) -> list[Case]:
    """The cases whose store operations are counted with a service of their own: those without aborts.

    `again`: the first block has been measured. One count is enough, because a strategy's operations per chat do not
    change from block to block; a comparison of two sides (`compared`) needs one per block.
    """
    unaborted = [case for case in cases if case.scenario.abort_share == 0]
    if again:
        return unaborted if compared else []
    return unaborted or list(cases[-1:])


def select(
    backend: str = "all",
    scenarios: Sequence[str] | None = None,
    workers: int = 2,
    *,
    strategies: Sequence[str] | None = None,
    quick: bool = False,
) -> list[Case]:
    """The cases of a run: of `backend` (a store or one strategy) or of the named `strategies`.

    A run of a backend also has `memory-push` on one worker as a control: no strategy should be faster.
    Raises PlanError naming the choices.
    """
    check_backend(backend)
    if not 1 <= workers <= MAX_WORKERS:
        raise PlanError(f"WORKERS is {workers}: choose from 1 to {MAX_WORKERS}")
    unknown = [name for name in strategies or () if name not in STRATEGIES]
    if unknown or (strategies is not None and not strategies):
        raise PlanError(f"strategies {', '.join(unknown) or 'is empty'}: choose from {', '.join(STRATEGIES)}")
    chosen = load_scenarios(scenarios, quick=quick)
    if whole := [each.name for each in chosen if each.whole]:
        raise PlanError(f"SCENARIO {', '.join(whole)}: the load reads streamed answers only")
    named = [name for name in STRATEGIES if store_of(name) and backend in ("all", store_of(name), name)]
    names = list(dict.fromkeys(strategies)) if strategies else [*REFERENCES, *named]
    cases = [Case(name, scenario, scenario.workers or workers) for name in names for scenario in chosen]
    control = Case("memory-push", chosen[0], 1)
    if strategies is None and control not in cases and chosen[0].abort_share > 0 and chosen[0].count_only is None:
        cases.append(control)
    return cases
