"""Write the JSON Schemas of the format: `python -m bench.record.export [FOLDER]`, docs/schema by default."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from bench.record.manifest import Manifest, ScheduleRow
from bench.record.plan import PlanRecord
from bench.record.schema import CaseRow, ChatRow
from bench.record.summary import Summary
from bench.record.verdict import Baseline, Noise, VerdictRecord

FILES: dict[str, type[msgspec.Struct]] = {
    "manifest": Manifest,
    "chats": ChatRow,
    "cases": CaseRow,
    "schedule": ScheduleRow,
    "summary": Summary,
    "verdict": VerdictRecord,
    "noise": Noise,
    "baseline": Baseline,
    "plan": PlanRecord,
}
FOLDER = Path(__file__).parents[2] / "docs" / "schema"
_FIELD = re.compile(r"^    (\w+): .*?#: (.+)$", re.MULTILINE)


def json_schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of a record (draft 2020-12); the `#:` comments of the fields are their descriptions."""
    (found,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for each in _records(kind):
        described = parts[each.__name__]["properties"]
        for base in reversed(each.__mro__):
            if issubclass(base, msgspec.Struct) and base.__module__ != "msgspec":
                for name, text in _FIELD.findall(inspect.getsource(base)):
                    described[name] = {**described[name], "description": text}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "$defs": parts}


def files() -> dict[str, str]:
    """The name and text of each schema file."""
    return {f"{name}.json": json.dumps(json_schema(kind), indent=1) + "\n" for name, kind in FILES.items()}


def _records(kind: type[msgspec.Struct]) -> set[type[msgspec.Struct]]:
    """The record and all records within it."""
    found: set[type[msgspec.Struct]] = set()
    waiting: list[Any] = [msgspec.inspect.type_info(kind)]
    while waiting:
        info = waiting.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in found:
                continue
            found.add(info.cls)
            waiting += [field.type for field in info.fields]
        waiting += [getattr(info, name) for name in ("item_type", "value_type") if hasattr(info, name)]
        waiting += [*getattr(info, "types", ()), *getattr(info, "item_types", ())]
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")
