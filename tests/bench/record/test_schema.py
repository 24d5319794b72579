"""The public format: the committed reference and older runs decode, and nothing is lost on the way back."""

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.record import export
from bench.record.base import RecordError, decode, encode_file, encode_line, read_file
from bench.record.manifest import Manifest, ScheduleRow
from bench.record.schema import CaseRow, ChatRow
from bench.record.summary import Summary
from bench.record.verdict import Noise

REFERENCE = Path(__file__).parents[3] / "results" / "reference"
OLD_CHAT = {
    "strategy": "redis-push", "scenario": "flowing", "workers": 2, "streams": 50, "block": 0, "request_id": "a",
    "client": {"sent_ns": 5, "token_ns": [6, 7], "end_ns": 8}, "abort": {"after_ms": 1, "sent_ns": 7},
    "witness": {"token_ns": [6], "outcome": "cut", "lost_ns": 8}, "somewhat": "newer",
}  # fmt: skip


def known(value: Any) -> Any:
    """The value without what is null or empty: the same as an absent field."""
    if isinstance(value, dict):
        return {name: known(each) for name, each in value.items() if each not in (None, {}, [])}
    return [known(each) for each in value] if isinstance(value, list) else value


def without_newer(written: Any, original: Any) -> Any:
    """The value without the fields that the original is too old to have."""
    if isinstance(original, dict):
        return {name: without_newer(written[name], each) for name, each in original.items() if name in written}
    if isinstance(original, list) and len(original) == len(written):
        return [without_newer(*pair) for pair in zip(written, original, strict=True)]
    return written


def lines(name: str) -> list[bytes]:
    data = (REFERENCE / "one-block" / name).read_bytes()
    return (gzip.decompress(data) if name.endswith(".gz") else data).splitlines()


@pytest.mark.parametrize(
    ("name", "kind"), [("manifest.json", Manifest), ("summary.json", Summary), ("noise.json", Noise)]
)
def test_a_file_of_the_reference_survives_a_round_trip(name: str, kind: type[msgspec.Struct]) -> None:
    original = json.loads((REFERENCE / name).read_bytes())
    written = json.loads(encode_file(read_file(REFERENCE / name, kind)))
    assert known(without_newer(written, original)) == known(original)


@pytest.mark.parametrize(
    ("name", "kind"), [("chats.jsonl.gz", ChatRow), ("cases.jsonl", CaseRow), ("schedule.jsonl.gz", ScheduleRow)]
)
def test_a_row_of_the_reference_survives_a_round_trip(name: str, kind: type[msgspec.Struct]) -> None:
    rows = lines(name)
    for line in rows[:: max(1, len(rows) // 100)]:
        original = json.loads(line)
        written = json.loads(encode_line(decode(line, kind, name)))
        assert known(without_newer(written, original)) == known(original)


def test_a_row_of_an_older_run_gets_defaults_and_unknown_fields_are_ignored() -> None:
    row = decode(json.dumps(OLD_CHAT), ChatRow, "line 1")
    assert row.key == ("redis-push", "flowing", 2, 50)
    assert row.service is None
    assert row.client.tokens_after_finish == 0
    assert row.abort is not None
    assert row.abort.tries is None
    old = decode('{"settings": {"quick": true, "service": {"ABORT_INTERVAL_MS": "50"}}}', Manifest, "manifest.json")
    assert old.is_quick
    assert old.service_environment == {"ABORT_INTERVAL_MS": "50"}
    assert decode('{"environment": {}}', Manifest, "manifest.json").service_environment == {}
    assert Manifest().service_environment is None


def test_a_broken_row_is_named_in_one_line() -> None:
    broken = json.dumps(OLD_CHAT | {"client": {"token_ns": ["soon"]}})
    with pytest.raises(RecordError, match=r"^line 7 of chats.jsonl.gz cannot be read \(.*token_ns\[0\]`\)"):
        decode(broken, ChatRow, "line 7 of chats.jsonl.gz")
    with pytest.raises(RecordError, match="missing required field `strategy`"):
        decode("{}", CaseRow, "cases.jsonl, line 1")
    with pytest.raises(RecordError, match="cannot be read"):
        decode('{"a"', CaseRow, "cases.jsonl, line 1")


@pytest.mark.parametrize("schema", ["2", "null", '"1"'])
def test_a_file_of_another_schema_is_refused(tmp_path: Path, schema: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(f'{{"schema": {schema}, "label": 5}}')
    with pytest.raises(RecordError, match=r"this program reads 1: use the version that wrote it$"):
        read_file(path, Manifest)


def test_the_committed_json_schemas_are_those_of_the_records() -> None:
    again = "write them again: python -m bench.record.export"
    assert {path.name: path.read_text() for path in export.FOLDER.iterdir()} == export.files(), again


def test_every_field_of_the_format_is_described() -> None:
    for name, kind in export.FILES.items():
        for record, found in export.json_schema(kind)["$defs"].items():
            bare = [field for field, each in found["properties"].items() if "description" not in each]
            assert (name, record, bare) == (name, record, [])
