"""Reads a results folder into memory: manifest, chats (already measured) and cases; says what is damaged."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from bench.analysis.metrics import ChatMetrics, measure
from bench.record.writer import LATEST, LATEST_OTHER

SCHEMA = 1
NEXT_STEP = "give a folder that `make bench` made, for example results/latest"


class UnreadableResults(Exception):  # noqa: N818 - reads as the sentence it makes in the CLI
    """The folder holds no results that can be read; the message is one line: cause and next step."""


class CaseKey(NamedTuple):
    """What makes a case: blocks of the same key are repetitions of one case."""

    strategy: str
    scenario: str
    workers: int
    streams: int


class Chat(NamedTuple):
    """One chat: the case and block it belongs to, its id, what it measured."""

    key: CaseKey
    block: int
    request_id: str
    measured: ChatMetrics


@dataclass(frozen=True)
class Run:
    """A results folder in memory. `damage` lists, in words, what could not be read."""

    folder: Path
    manifest: dict[str, Any]
    cases: list[dict[str, Any]]
    chats: list[Chat]
    damage: list[str] = field(default_factory=list)


def read_run(folder: Path) -> Run:
    """Read the raw files of `folder`; a file that breaks off is read up to there and the loss is told in `damage`.

    Raises UnreadableResults when the folder is no results folder, is of another schema, or holds no finished case.
    """
    if not folder.is_dir():
        other = folder.with_name(LATEST_OTHER)
        if folder.name == LATEST and other.is_dir():
            raise UnreadableResults(f"no full, valid run is there yet; {other} is the newest of the others")
        raise UnreadableResults(f"{folder} is no folder: {NEXT_STEP}")
    manifest = _read_manifest(folder / "manifest.json")
    scenarios = manifest.get("scenarios") or {}
    damage: list[str] = []
    cases_file, chats_file = folder / "cases.jsonl", folder / "chats.jsonl.gz"
    for path in (cases_file, chats_file):
        if not path.is_file():
            raise UnreadableResults(f"{folder} has no {path.name}, so no case of it was finished: {NEXT_STEP}")
    try:
        with cases_file.open(encoding="utf-8") as lines:
            cases = list(_rows(lines, cases_file.name, damage))
        with gzip.open(chats_file, "rt", encoding="utf-8") as lines:
            rows = _rows(lines, chats_file.name, damage)
            chats = [_chat(row, number, scenarios) for number, row in enumerate(rows, 1)]
        for row in cases:
            case_key(row)
    except OSError as error:
        raise UnreadableResults(f"{folder} cannot be read ({error}): {NEXT_STEP}") from error
    except (KeyError, TypeError) as error:
        raise UnreadableResults(f"{cases_file} has a line that is no case ({error!r}): {NEXT_STEP}") from error
    if not cases:
        raise UnreadableResults(f"{folder} holds no finished case: run `make bench` again and let it finish one")
    return Run(folder, manifest, cases, chats, damage)


def case_key(row: dict[str, Any]) -> CaseKey:
    """The key of a chat row or a case row."""
    return CaseKey(row["strategy"], row["scenario"], row["workers"], row["streams"])


def unlike_environments(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Variables that two runs gave to their services on purpose and in which they differ, as `NAME is x in A, y in B`.

    From their manifests; an old one that does not record them differs in nothing.
    """
    # Runs before 2026-12 kept the ABORT_* variables of the shell, and nothing else, in their settings.
    one, other = (each.get("environment", (each.get("settings") or {}).get("service")) for each in (a, b))
    if one is None or other is None:
        return []
    names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
    return [f"{name} is {one.get(name)} in A, {other.get(name)} in B" for name in names]


def is_quick(manifest: dict[str, Any]) -> bool:
    """Whether the run was a first look: QUICK runs never yield a verdict."""
    return bool(manifest.get("quick") or (manifest.get("settings") or {}).get("quick"))


def case_name(case: CaseKey) -> str:
    """A case as people name it."""
    return f"{case.strategy} in {case.scenario}, {case.workers} worker{'s' if case.workers != 1 else ''}"


def of_run(manifest: Mapping[str, object]) -> dict[str, str] | None:
    """What a run gave to its service on purpose; None where an old manifest does not record it."""
    found = manifest.get("environment")
    if found is None:  # runs before 2026-12 kept the ABORT_* variables of the shell here
        settings = manifest.get("settings")
        found = settings.get("service") if isinstance(settings, Mapping) else None
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, Mapping) else None


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnreadableResults(
            f"{path.parent} has no manifest.json, so it is no results folder: {NEXT_STEP}"
        ) from None
    except (OSError, ValueError) as error:
        raise UnreadableResults(f"{path} cannot be read ({error}): {NEXT_STEP}") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else None
        raise UnreadableResults(
            f"{path} has schema {found!r}, this program reads {SCHEMA}: use the version that wrote it"
        )
    return manifest


def _rows(lines: IO[str], name: str, damage: list[str]) -> Iterator[dict[str, Any]]:
    """Yield JSON objects until the end or the first damage, which a killed run leaves at the end of a file."""
    number = 0
    try:
        for line in lines:
            row = json.loads(line)
            number += 1
            yield row
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError):
        damage.append(f"{name} breaks off after line {number}: what follows is lost")


def _chat(row: dict[str, Any], number: int, scenarios: dict[str, Any]) -> Chat:
    try:
        key = case_key(row)
        return Chat(key, row["block"], row["request_id"], measure(row, scenarios.get(key.scenario)))
    except (KeyError, TypeError, AttributeError) as error:
        cause = f"line {number} of chats.jsonl.gz is no chat row of schema {SCHEMA} ({error!r})"
        raise UnreadableResults(f"{cause}: use the version that wrote it") from error
