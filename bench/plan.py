"""What will be measured: strategies, scenarios, the cases of a run, and when which chat is aborted."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent / "scenarios"
SCENARIOS = ("flowing", "stalled", "first-token", "steady")
STRATEGIES = (
    "memory-poll",
    "memory-push",
    "postgres-poll",
    "postgres-timer",
    "postgres-push",
    "redis-poll",
    "redis-timer",
    "redis-push",
    "disconnect",
    "none",
)
REFERENCES = ("none", "disconnect")
"""Measured in every run: what no abort costs, and how fast a stop could be without any store."""
BACKENDS = ("all", "memory", "postgres", "redis")
MAX_WORKERS = 64
RAMP_MS = 250.0
"""Users start spread over this time: streams in step would send all their tokens at the same instant."""


class PlanError(ValueError):
    """A setting that cannot be measured; the message is one line naming the choices."""


@dataclass(frozen=True)
class Scenario:
    """One way people use the chat. Times are milliseconds; `streams` is how many chats run at the same time.

    `abort_over` says where in a chat its abort falls, evenly spread: over the `stream` (first to last token), over the
    `silence` of the stall, or over the `wait` for the first token; `abort_margin_ms` is kept free at both ends.
    """

    name: str
    sentence: str
    ttft_ms: float
    itl_ms: float
    output_tokens: int
    streams: int
    chats: int
    abort_share: float
    abort_over: Literal["stream", "silence", "wait"] = "stream"
    abort_margin_ms: float = 0.0
    stall_at: int | None = None
    stall_ms: float = 0.0

    def __post_init__(self) -> None:
        wrong = [
            (self.abort_over not in ("stream", "silence", "wait"), "abort_over is one of stream, silence, wait"),
            (not 0 <= self.abort_share <= 1, "abort_share is 0 to 1"),
            (min(self.streams, self.chats, self.output_tokens) < 1, "streams, chats and output_tokens are 1 or more"),
            (min(self.ttft_ms, self.itl_ms, self.stall_ms, self.abort_margin_ms) < 0, "times are 0 ms or more"),
            (self.stall_ms > 0 and self.stall_at is None, "a stall needs stall_at, the token it comes after"),
            (
                self.stall_at is not None and not 0 < self.stall_at < self.output_tokens,
                "stall_at lies inside the answer",
            ),
            (self.abort_over == "silence" and self.stall_at is None, "aborts in the silence need a stall"),
        ]
        for is_wrong, rule in wrong:
            if is_wrong:
                raise PlanError(f"scenario {self.name}: {rule}")
        low_ms, high_ms = self.abort_window_ms
        if self.abort_share > 0 and low_ms >= high_ms:
            raise PlanError(f"scenario {self.name}: no time left for an abort; lower abort_margin_ms")

    @property
    def abort_window_ms(self) -> tuple[float, float]:
        """When aborts may fall, in milliseconds after the chat was sent."""
        stall_from_ms = self.ttft_ms + self.itl_ms * ((self.stall_at or 1) - 1)
        end_ms = self.ttft_ms + self.itl_ms * (self.output_tokens - 1) + self.stall_ms
        low_ms, high_ms = {
            "stream": (self.ttft_ms, end_ms),
            "silence": (stall_from_ms, stall_from_ms + self.stall_ms),
            "wait": (0.0, self.ttft_ms),
        }[self.abort_over]
        return low_ms + self.abort_margin_ms, high_ms - self.abort_margin_ms

    @property
    def marker(self) -> str:
        """What the mock reads in a chat's last message."""
        values = {"ttft_ms": self.ttft_ms, "itl_ms": self.itl_ms, "output_tokens": self.output_tokens}
        if self.stall_at is not None:
            values |= {"stall_at": self.stall_at, "stall_ms": self.stall_ms}
        return f"[mock:{','.join(f'{name}={value:g}' for name, value in values.items())}]"

    def settings(self) -> dict[str, Any]:
        """The scenario as the manifest keeps it."""
        return asdict(self) | {"abort_window_ms": list(self.abort_window_ms)}


@dataclass(frozen=True)
class Case:
    """One strategy in one scenario with so many workers; a run measures each once."""

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
    """The store in `<store>-<delivery>`, None for the reference points."""
    return None if strategy in REFERENCES else strategy.partition("-")[0]


def delivery_of(strategy: str) -> str | None:
    """The delivery in `<store>-<delivery>`, None for the reference points."""
    return None if strategy in REFERENCES else strategy.partition("-")[2]


def load_scenario(path: Path, *, quick: bool = False) -> Scenario:
    """Read one scenario; `quick` applies the overrides of its [quick] table. Raises PlanError naming the file."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise PlanError(f"scenario file {path} cannot be read: {error}") from error
    overrides = table.pop("quick", {})
    known = [field.name for field in fields(Scenario) if field.name != "name"]
    unknown = [key for key in {**table, **overrides} if key not in known]
    if unknown:
        raise PlanError(f"scenario {path.stem}: unknown {', '.join(unknown)}; choose from {', '.join(known)}")
    try:
        return Scenario(name=path.stem, **(table | (overrides if quick else {})))
    except TypeError as error:
        raise PlanError(f"scenario {path.stem}: {error}") from error


def load_scenarios(names: Iterable[str] = SCENARIOS, *, quick: bool = False) -> list[Scenario]:
    """The named scenarios of the catalogue, in its order. Raises PlanError naming the choices."""
    asked = list(names)
    unknown = [name for name in asked if name not in SCENARIOS]
    if unknown or not asked:
        raise PlanError(f"SCENARIO {', '.join(unknown) or 'is empty'}: choose from {', '.join(SCENARIOS)}")
    return [load_scenario(FOLDER / f"{name}.toml", quick=quick) for name in SCENARIOS if name in asked]


def select(
    backend: str = "all",
    scenarios: Sequence[str] = SCENARIOS,
    workers: int = 2,
    *,
    quick: bool = False,
) -> dict[str, list[Case]]:
    """The cases of a run, grouped by strategy in the order they are measured. Raises PlanError naming the choices."""
    if backend not in BACKENDS:
        raise PlanError(f"BACKEND {backend!r} is unknown: choose from {', '.join(BACKENDS)}")
    if not 1 <= workers <= MAX_WORKERS:
        raise PlanError(f"WORKERS is {workers}: choose from 1 to {MAX_WORKERS}")
    chosen = load_scenarios(scenarios, quick=quick)
    named = [name for name in STRATEGIES if store_of(name) and backend in ("all", store_of(name))]
    return {name: [Case(name, scenario, workers) for scenario in chosen] for name in (*REFERENCES, *named)}


def abort_moments(scenario: Scenario, seed: int) -> list[float | None]:
    """When each chat is aborted, in milliseconds after it was sent; None for the chats that are left alone.

    The same seed gives every strategy the same schedule, so that they are compared on the same moments. Exactly
    `abort_share` of the chats are aborted.
    """
    rng = random.Random(f"{seed} {scenario.name}")
    low_ms, high_ms = scenario.abort_window_ms
    moments: list[float | None] = [rng.uniform(low_ms, high_ms) for _ in range(scenario.chats)]
    spared = rng.sample(range(scenario.chats), scenario.chats - round(scenario.abort_share * scenario.chats))
    for index in spared:
        moments[index] = None
    return moments
