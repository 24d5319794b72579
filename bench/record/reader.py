"""Read the raw files of a results folder: manifest, cases and chats, up to the first damage."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.record.base import SCHEMA, Record, RecordError, read_file
from bench.record.manifest import Manifest
from bench.record.schema import CaseRow, ChatRow
from bench.record.writer import LATEST, LATEST_OTHER

NEXT_STEP = "give a folder that `make bench` made, for example results/latest"
Row = TypeVar("Row", bound=Record)


class UnreadableResults(Exception):  # noqa: N818 - reads as the sentence it makes in the CLI
    """The folder holds no results that can be read; the message is one line: cause and next step."""


@dataclass(frozen=True)
class Raw:
    """The raw files of a folder; `damage` lists what could not be read, that of the chats once `chats` has ended."""

    folder: Path
    manifest: Manifest
    cases: list[CaseRow]
    damage: list[str] = field(default_factory=list)

    def chats(self) -> Iterator[ChatRow]:
        """Read chats.jsonl.gz, one row at a time. Raises UnreadableResults for a row that is none."""
        with gzip.open(self.folder / "chats.jsonl.gz", "rb") as lines:
            yield from _rows(lines, "chats.jsonl.gz", ChatRow, self.damage)


def read_raw(folder: Path) -> Raw:
    """Read manifest and cases. Raises UnreadableResults: no results folder, another schema, no finished case."""
    manifest = read_manifest(folder)
    for name in ("cases.jsonl", "chats.jsonl.gz"):
        if not (folder / name).is_file():
            raise UnreadableResults(f"{folder} has no {name}, so no case of it was finished: {NEXT_STEP}")
    damage: list[str] = []
    try:
        with (folder / "cases.jsonl").open("rb") as lines:
            cases = list(_rows(lines, "cases.jsonl", CaseRow, damage))
    except OSError as error:
        raise UnreadableResults(f"{folder} cannot be read ({error}): {NEXT_STEP}") from error
    if not cases:
        raise UnreadableResults(f"{folder} holds no finished case: run `make bench` again and let it finish one")
    return Raw(folder, manifest, cases, damage)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a results folder. Raises UnreadableResults."""
    path = folder / "manifest.json"
    if not folder.is_dir():
        other = folder.with_name(LATEST_OTHER)
        if folder.name == LATEST and other.is_dir():
            raise UnreadableResults(f"no full, valid run is there yet; {other} is the newest of the others")
        raise UnreadableResults(f"{folder} is no folder: {NEXT_STEP}")
    try:
        return read_file(path, Manifest)
    except FileNotFoundError:
        raise UnreadableResults(f"{folder} has no manifest.json, so it is no results folder: {NEXT_STEP}") from None
    except OSError as error:
        raise UnreadableResults(f"{path} cannot be read ({error}): {NEXT_STEP}") from error
    except RecordError as error:
        raise UnreadableResults(str(error)) from error


def _rows(lines: Iterable[bytes], name: str, kind: type[Row], damage: list[str]) -> Iterator[Row]:
    """Yield rows until the end or the first damage, which a killed run leaves at the end of a file."""
    decoder, number = msgspec.json.Decoder(kind), 0
    try:
        for line in lines:
            row = decoder.decode(line)
            number += 1
            yield row
    except msgspec.ValidationError as error:
        cause = f"line {number + 1} of {name} is no row of schema {SCHEMA} ({error})"
        raise UnreadableResults(f"{cause}: use the version that wrote it") from error
    except (EOFError, zlib.error, gzip.BadGzipFile, msgspec.DecodeError):
        damage.append(f"{name} breaks off after line {number}: what follows is lost")
