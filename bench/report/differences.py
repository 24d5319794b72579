"""What differs between two runs: settings that make them incomparable, and cases that only one of them has."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.analysis.reading import Run
from bench.record.manifest import ScenarioSettings
from bench.record.schema import CaseKey
from bench.workload.strategies import is_special

MOST_NAMED = 5
NOT_THE_LOAD = ("sentence", "name")


class UnlikeRuns(Exception):  # noqa: N818 - reads as the sentence it makes in the CLI
    """The runs have nothing to compare; the message is one line naming the keys that differ."""


def check(a: Run, b: Run) -> tuple[set[CaseKey], list[str]]:
    """The result of `shared`. Raises UnlikeRuns when there is nothing to compare."""
    if _is_same(a.folder, b.folder):
        raise UnlikeRuns(f"A and B are the same run, {a.folder.resolve().name}: name another one as B")
    found = differences(a, b)
    both, rest = shared(a, b)
    if found or not both:
        named = found or rest
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        raise UnlikeRuns(f"{a.folder} and {b.folder} did not measure the same: {'; '.join(named[:MOST_NAMED])}{more}")
    return both, rest


def differences(a: Run, b: Run) -> list[str]:
    """What makes two runs incomparable as a whole, as `key is this in A, that in B`; mostly empty."""
    one, other = a.manifest, b.manifest
    found = [*_unlike("quick", one.quick or None, other.quick or None)]
    found += _unlike("settings.workers", one.settings.get("workers"), other.settings.get("workers"))
    mine, theirs = one.service_environment, other.service_environment
    if mine is not None and theirs is not None:  # older runs did not record it
        for key in dict.fromkeys([*mine, *theirs]):
            found += _unlike(f"environment.{key}", mine.get(key), theirs.get(key))
    return found


def shared(a: Run, b: Run) -> tuple[set[CaseKey], list[str]]:
    """The cases that both runs measured in the same way, and in words what only one has, or has differently."""
    one, other = a.manifest.scenarios, b.manifest.scenarios
    unlike, rest = set(), []
    for name in dict.fromkeys([*one, *other]):
        if found := list(_unlike_scenarios(f"scenarios.{name}", one.get(name), other.get(name))):
            unlike.add(name)
            rest += found
    strategies = [{row.strategy for row in run.cases} for run in (a, b)]
    rest += [f"strategy {name} is in {_only(name in strategies[0])}" for name in sorted(strategies[0] ^ strategies[1])]
    keys = [{row.key for row in run.cases} for run in (a, b)]
    rest += [
        f"case {key.strategy} in {key.scenario} with {key.workers} workers and {key.streams} streams is in"
        f" {_only(key in keys[0])}"
        for key in sorted(keys[0] ^ keys[1])
        if key.scenario not in unlike and key.strategy not in strategies[0] ^ strategies[1]
    ]
    return {key for key in keys[0] & keys[1] if key.scenario not in unlike and not is_special(key.scenario)}, rest


def _is_same(a: Path, b: Path) -> bool:
    """Whether one folder is the other, or a copy of it."""
    if a.resolve() == b.resolve():
        return True
    names = ("manifest.json", "cases.jsonl", "chats.jsonl.gz")
    return all(filecmp.cmp(a / name, b / name, shallow=False) for name in names)


def _unlike_scenarios(name: str, a: ScenarioSettings | None, b: ScenarioSettings | None) -> Iterator[str]:
    if a is None or b is None:
        yield f"{name} is in {_only(a is not None)}"
        return
    mine, theirs = msgspec.to_builtins(a), msgspec.to_builtins(b)
    for key in mine:
        if key not in NOT_THE_LOAD:
            yield from _unlike(f"{name}.{key}", mine[key], theirs[key])


def _unlike(key: str, a: object, b: object) -> Iterator[str]:
    if a != b:
        yield f"{key} is {a} in A, {b} in B"


def _only(in_a: bool) -> str:
    return "A only" if in_a else "B only"
