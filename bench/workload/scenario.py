"""A scenario: how clients chat and abort, read from a TOML file of the catalogue or of the user."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from bench.workload.strategies import is_special

FOLDER = Path(__file__).parent / "catalogue"
DEFAULT = ("flowing", "stalled", "steady")
"""The scenarios of `make bench` without SCENARIO."""
WINDOWS = ("stream", "silence", "wait", "last", "after", "with", "storm")
MAX_WORKERS = 64
RAMP_MS = 250.0
"""Chats of a closed loop start spread over this time, so that they do not send their tokens at the same instant."""
AFTER_MS = (50.0, 250.0)
"""`after`: the time after the planned end of the answer."""


class PlanError(ValueError):
    """A setting that cannot be measured; the message is one line naming the choices."""


@dataclass(frozen=True)
class Scenario:
    """A load of `chats` per block and its aborts. Times are milliseconds.

    Answer: `output_tokens`, the first after `ttft_ms`, then one per `itl_ms`; a silence of `stall_ms` after token
    `stall_at`. The response headers are sent at once, or after `headers_ms`. `whole`: one JSON body, not a stream.

    Load: `rate_per_s` chats arrive (open loop: `arrivals` poisson or constant, at most `streams` at a time; others are
    dropped and counted); without it `streams` clients chat one answer after the other (closed loop).

    Aborts: an `abort_share` of the chats, each in a window drawn by the weights of `abort_over`: the `stream` (first to
    last token), the `silence` of the stall, the `wait` for the first token (`whole`: for the answer), around the `last`
    token, `after` the end, `with` the request of the chat, or all live chats at once (`storm`). `abort_margin_ms` is
    excluded at both ends of the first three; `abort_from_ms` and `abort_until_ms`, counted from the chat's request,
    limit every window. `again_ms`: time to a second abort. `abort_by` hangup: the client disconnects instead.

    `workers` overrides the run's; `count_only` other-worker: aborts received by the chat's own worker are not counted.
    `fault` store-crash: the store is killed `fault_at_ms` after the start of the load and restarted `fault_for_ms`
    later. `read_pause_ms`: pause of the client between reads of at most `read_bytes`.
    """

    name: str
    sentence: str
    ttft_ms: float
    itl_ms: float
    output_tokens: int
    streams: int
    chats: int
    headers_ms: float = 0.0
    whole: bool = False
    rate_per_s: float | None = None
    arrivals: Literal["poisson", "constant"] = "poisson"
    abort_share: float = 0.0
    abort_over: Mapping[str, float] = field(default_factory=lambda: {"stream": 1.0})
    abort_margin_ms: float = 0.0
    abort_from_ms: float = 0.0
    abort_until_ms: float | None = None
    abort_by: Literal["request", "hangup"] = "request"
    again_ms: float | None = None
    stall_at: int | None = None
    stall_ms: float = 0.0
    workers: int | None = None
    count_only: Literal["other-worker"] | None = None
    fault: Literal["store-crash"] | None = None
    fault_at_ms: float = 0.0
    fault_for_ms: float = 0.0
    read_pause_ms: float = 0.0
    read_bytes: int = 65536

    def __post_init__(self) -> None:
        for is_wrong, rule in self._rules():
            if is_wrong:
                raise PlanError(f"scenario {self.name}: {rule}")
        for name in self.abort_over if self.abort_share > 0 else ():
            low_ms, high_ms = self.window_ms(name)
            if low_ms > high_ms:
                raise PlanError(
                    f"scenario {self.name}: no time left for an abort in {name}; lower abort_margin_ms, "
                    "or widen abort_from_ms to abort_until_ms"
                )

    def _rules(self) -> list[tuple[bool, str]]:
        times = (
            self.headers_ms, self.ttft_ms, self.itl_ms, self.stall_ms, self.abort_margin_ms, self.abort_from_ms,
            self.abort_until_ms or 0, self.again_ms or 0, self.fault_at_ms, self.fault_for_ms, self.read_pause_ms,
        )  # fmt: skip
        return [
            (not self.abort_over or not set(self.abort_over) <= set(WINDOWS), f"abort_over is of {', '.join(WINDOWS)}"),
            (any(weight <= 0 for weight in self.abort_over.values()), "the weights of abort_over are above 0"),
            (not 0 <= self.abort_share <= 1, "abort_share is 0 to 1"),
            (min(self.streams, self.chats, self.output_tokens) < 1, "streams, chats and output_tokens are 1 or more"),
            (min(times) < 0, "times are 0 ms or more"),
            (self.rate_per_s is not None and self.rate_per_s <= 0, "rate_per_s is above 0, or absent (closed loop)"),
            (self.arrivals not in ("poisson", "constant"), "arrivals is poisson or constant"),
            (self.abort_by not in ("request", "hangup"), "abort_by is request or hangup"),
            (self.count_only not in (None, "other-worker"), "count_only is other-worker, or absent"),
            (self.fault not in (None, "store-crash"), "fault is store-crash, or absent"),
            (self.workers is not None and not 1 <= self.workers <= MAX_WORKERS, f"workers is 1 to {MAX_WORKERS}"),
            (not 1 <= self.read_bytes <= 65536, "read_bytes is 1 to 65536"),
            (self.stall_ms > 0 and self.stall_at is None, "a stall needs stall_at, the token it comes after"),
            (
                self.stall_at is not None and not 0 < self.stall_at < self.output_tokens,
                "stall_at lies inside the answer",
            ),
            (self.headers_ms > self.ttft_ms, "headers_ms is ttft_ms or less: the first token follows the headers"),
            (not isinstance(self.whole, bool), "whole is true or false"),
            (
                self.whole and self.abort_share > 0 and not {"stream", "silence"}.isdisjoint(self.abort_over),
                "a whole answer has no stream: abort_over is of wait, last, after, with, storm",
            ),
            ("silence" in self.abort_over and self.stall_at is None, "aborts in the silence need a stall"),
            (
                "storm" in self.abort_over and self.chats > self.streams,
                "in a storm streams is chats or more",
            ),
        ]

    @property
    def chat_ms(self) -> float:
        """Duration of an answer without an abort."""
        return self.ttft_ms + self.itl_ms * (self.output_tokens - 1) + self.stall_ms

    @property
    def load_ms(self) -> float:
        """Duration of the load of one block without aborts."""
        if self.rate_per_s is not None:
            return 1000 * self.chats / self.rate_per_s + self.chat_ms
        return RAMP_MS + -(-self.chats // self.streams) * self.chat_ms

    @property
    def chunks_per_s(self) -> float:
        """The highest rate of chunks that the clients may have to read."""
        gap_ms = self.chat_ms if self.whole else self.itl_ms
        live: float = min(self.streams, self.chats)
        if self.rate_per_s is not None:
            live = min(live, self.rate_per_s * self.chat_ms / 1000)
        return live * 1000 / max(gap_ms, 1.0)

    @property
    def at_once(self) -> int:
        """Number of aborts that are sent at one instant; 1 without a storm."""
        weights = self.abort_over
        share = self.abort_share * weights.get("storm", 0.0) / sum(weights.values())
        return max(1, round(share * self.chats))

    def window_ms(self, name: str) -> tuple[float, float]:
        """Earliest and latest abort of this window, after the chat was sent (`storm`: after the first chat was)."""
        stall_from_ms = self.ttft_ms + self.itl_ms * ((self.stall_at or 1) - 1)
        free = self.abort_margin_ms
        middle_ms = RAMP_MS + self.ttft_ms + (self.chat_ms - self.ttft_ms - RAMP_MS) / 2
        low_ms, high_ms = {
            "stream": (self.ttft_ms + free, self.chat_ms - free),
            "silence": (stall_from_ms + free, stall_from_ms + self.stall_ms - free),
            "wait": (free, (self.chat_ms if self.whole else self.ttft_ms) - free),
            "last": (self.chat_ms - self.itl_ms, self.chat_ms + self.itl_ms),
            "after": (self.chat_ms + AFTER_MS[0], self.chat_ms + AFTER_MS[1]),
            "with": (0.0, 0.0),
            "storm": (middle_ms, middle_ms),
        }[name]
        until_ms = high_ms if self.abort_until_ms is None else min(high_ms, self.abort_until_ms)
        return max(low_ms, self.abort_from_ms), until_ms

    @property
    def marker(self) -> str:
        """The settings of the answer, for the mock, in the last message of a chat."""
        values = {"ttft_ms": self.ttft_ms, "itl_ms": self.itl_ms, "output_tokens": self.output_tokens}
        if self.headers_ms:
            values["headers_ms"] = self.headers_ms
        if self.stall_at is not None:
            values |= {"stall_at": self.stall_at, "stall_ms": self.stall_ms}
        return f"[mock:{','.join(f'{name}={value:g}' for name, value in values.items())}]"

    def settings(self) -> dict[str, Any]:
        """The scenario in the manifest; `Scenario(**settings)` is equal to this one."""
        return asdict(self) | {"abort_over": dict(self.abort_over)}


def load_scenario(path: Path, *, quick: bool = False) -> Scenario:
    """Read one scenario; `quick` applies the overrides of its [quick] table. Raises PlanError naming the file."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"scenario file {path} cannot be read: {error}") from error
    overrides = table.pop("quick", {})
    known = [each.name for each in fields(Scenario) if each.name != "name"]
    unknown = [key for key in {**table, **overrides} if key not in known]
    if unknown:
        raise PlanError(f"scenario {path.stem}: unknown {', '.join(unknown)}; choose from {', '.join(known)}")
    values = table | (overrides if quick else {})
    if isinstance(values.get("abort_over"), str):
        values["abort_over"] = {values["abort_over"]: 1.0}
    try:
        return Scenario(name=path.stem, **values)
    except (TypeError, AttributeError) as error:
        raise PlanError(f"scenario {path.stem}: {error}") from error


def catalogue() -> list[str]:
    """The names of the scenarios that come with the project, the default ones first."""
    others = sorted(path.stem for path in FOLDER.glob("*.toml"))
    return [*DEFAULT, *(name for name in others if name not in DEFAULT)]


def load_scenarios(names: Iterable[str] | None = None, *, quick: bool = False) -> list[Scenario]:
    """The named scenarios, of the catalogue or files (None: the default ones). Raises PlanError naming the choices."""
    asked = list(DEFAULT if names is None else dict.fromkeys(names))
    known = catalogue()
    unknown = [name for name in asked if name not in known and not name.endswith(".toml")]
    if unknown or not asked:
        raise PlanError(
            f"SCENARIO {', '.join(unknown) or 'is empty'}: choose from {', '.join(known)}, or name a .toml file"
        )
    paths = [Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml" for name in asked]
    names = [path.stem for path in paths]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise PlanError(f"SCENARIO {', '.join(twice)} is named twice: rename a file, its name is the scenario's")
    if reserved := [name for name in names if is_special(name)]:
        raise PlanError(f"SCENARIO {', '.join(reserved)} is the instrument's own: rename the file")
    return [load_scenario(path, quick=quick) for path in paths]
