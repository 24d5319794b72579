"""What every record of a results folder is made of: a typed row, and how it becomes JSON and is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

SCHEMA = 1
"""The version of the record. Readers refuse one they do not have.

1   2026-11  manifest.json, chats.jsonl.gz (one row per chat: client, abort, service, witness), cases.jsonl
1   2026-11  added, for load from many machines: `clock_uncertainty_ns` of chats, `clocks` of cases, `load_workers` of
             the manifest, `clock_uncertainty` of metrics and parts
"""
T = TypeVar("T")


class RecordError(ValueError):
    """A file or row is not a record of this schema; the message is one line that names the place and the cause."""


class Record(msgspec.Struct, kw_only=True):
    """A row or file of the format. Fields are read as attributes; one that is absent in a file has its default.

    Unknown fields are ignored.
    """


def decode(data: bytes | str, kind: type[T], place: str) -> T:
    """Read one JSON document as `kind`. Raises RecordError, which names the `place` (a file, or a line of it)."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{place} cannot be read ({error}): it is damaged, or not of schema {SCHEMA}") from error


def read_file(path: Path, kind: type[T]) -> T:
    """Read a JSON file as `kind`. Raises OSError, and RecordError for other contents or another schema."""
    data = path.read_bytes()
    found = decode(data, _Version, str(path)).schema
    if found != SCHEMA:
        raise RecordError(f"{path} has schema {found!r}, this program reads {SCHEMA}: use the version that wrote it")
    return decode(data, kind, str(path))


def encode_file(record: Any) -> bytes:
    """The JSON of a whole file: indented, with a newline at its end. Numbers that are not finite become null."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def encode_line(record: Any) -> bytes:
    """One line of a `.jsonl` file."""
    return msgspec.json.encode(record) + b"\n"


class _Version(msgspec.Struct):
    schema: Any = None
