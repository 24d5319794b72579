"""A results folder in memory: manifest, cases, and what every chat measured."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.analysis.metrics import ChatMetrics, measure
from bench.record.manifest import Manifest
from bench.record.reader import NEXT_STEP, UnreadableResults, read_raw
from bench.record.schema import CaseKey, CaseRow

__all__ = ["CaseKey", "UnreadableResults"]


class Chat(NamedTuple):
    """One chat: the case and block it belongs to, its id, what it measured."""

    key: CaseKey
    block: int
    request_id: str
    measured: ChatMetrics


@dataclass(frozen=True)
class Run:
    """A results folder in memory. `damage` lists what could not be read."""

    folder: Path
    manifest: Manifest
    cases: list[CaseRow]
    chats: list[Chat]
    damage: list[str] = field(default_factory=list)


def read_run(folder: Path) -> Run:
    """Read the raw files of `folder` and measure every chat; a file that breaks off is read up to there.

    Raises UnreadableResults when the folder is no results folder, is of another schema, or holds no finished case.
    """
    raw = read_raw(folder)
    try:
        chats = [
            Chat(row.key, row.block, row.request_id, measure(row, raw.manifest.scenarios.get(row.scenario)))
            for row in raw.chats()
        ]
    except OSError as error:
        raise UnreadableResults(f"{folder} cannot be read ({error}): {NEXT_STEP}") from error
    return Run(folder, raw.manifest, raw.cases, chats, raw.damage)


def unlike_environments(a: Manifest, b: Manifest) -> list[str]:
    """The --env variables in which two runs differ, as `NAME is x in A, y in B`; none where one did not record them."""
    one, other = a.service_environment, b.service_environment
    if one is None or other is None:
        return []
    names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
    return [f"{name} is {one.get(name)} in A, {other.get(name)} in B" for name in names]


def case_name(case: CaseKey) -> str:
    """A case as people name it."""
    return f"{case.strategy} in {case.scenario}, {case.workers} worker{'s' if case.workers != 1 else ''}"
