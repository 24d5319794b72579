"""`python -m bench backends`: the abort path itself, between two processes, on real stores; no HTTP, no service."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.record.writer import check_writable, describe_commit, describe_host, describe_versions, utc_now
from bench.system.embedded import StoreError, temporary_folder
from bench.system.procs import Child
from bench.system.stores import Store, open_store

# History of abort-path.json. Readers refuse a schema they do not know.
#   1  2026-11  stores, samples[store][part] = the rows of `python -m backends.measure <part>`, unmeasured
SCHEMA = 1
FILE = "abort-path.json"
KINDS = ("redis", "postgres")
CHOICES = ("postgres", "redis", "postgres-push", "redis-push")
PARTS = ("latency", "trips", "burst", "fanout")
SAMPLES = {"latency": 400, "burst": 1000, "fanout": 100}  # per pair and side; a p99 needs 368
QUICK_SAMPLES = {"latency": 100, "burst": 200, "fanout": 30}
PAIRS = 5
SETTINGS: dict[str, Mapping[str, str]] = {
    "redis": {},
    "postgres": {"max_connections": "500"},  # sixty-four workers listen at once, each with a pool of its own
}
PART_DEADLINE_S = 300.0
LOOK_EVERY_S = 0.1  # seldom: the measurement shares the cores with us
Say = Callable[[str], object]
Row = dict[str, Any]


def measure(kinds: Sequence[str], folder: Path, say: Say, *, quick: bool = False) -> Row:
    """Measure these stores and return the record; results/abort-path.json holds it from the first part on.

    `say` is told what is going on. A part that fails is in `unmeasured`, with its reason; the others go on. Raises
    FolderError when the folder cannot be written, and OSError when that happens later.
    """
    commit, dirty = describe_commit()
    record: Row = {"schema": SCHEMA, "started": utc_now(), "commit": commit, "dirty": dirty, "quick": quick}
    record |= {"host": describe_host(), "versions": describe_versions(), "pairs": PAIRS}
    record |= {"stores": {}, "samples": {}, "unmeasured": []}
    check_writable(folder)
    write(record, folder)
    for kind in kinds:
        with ExitStack() as stack:
            say(f"starting {kind}")
            try:
                store = stack.enter_context(open_store(kind, SETTINGS[kind]))
            except StoreError as error:
                record["unmeasured"].append(f"{kind}: {error}")
                continue
            record["stores"][kind] = {"name": store.name, "version": store.version, "how": store.how}
            namespace = f"stopwatch_bench_{secrets.token_hex(3)}"
            if store.how == "url":  # our own servers are gone with all they hold
                stack.callback(store.delete_namespace, namespace)
            logs = stack.enter_context(temporary_folder("measure"))
            for part in PARTS:
                rows, failure = measure_part(store, part, logs, namespace, say, quick=quick)
                record["samples"].setdefault(kind, {})[part] = rows
                if failure:
                    record["unmeasured"].append(f"{kind} {part}: {failure}")
                write(record, folder)
    return record


def measure_part(
    store: Store, part: str, logs: Path, namespace: str, say: Say, *, quick: bool
) -> tuple[list[Row], str | None]:
    """(the rows that `python -m backends.measure` has printed, why there are no more or None)."""
    arguments = ["backends.measure", part, "--namespace", namespace, "--pairs", str(PAIRS)]
    if part in SAMPLES:
        arguments += ["--samples", str((QUICK_SAMPLES if quick else SAMPLES)[part])]
    # Not an argument: the address may hold a password, and arguments are for all to see.
    env = {"ABORT_BACKEND": store.strategy_url("push")}
    deadline = time.monotonic() + PART_DEADLINE_S
    with Child(f"measuring {part}", arguments, logs / part, env=env, ready=False) as child:
        while child.process.poll() is None and time.monotonic() < deadline:
            say(f"{store.kind} {part}: {len(_rows(child.log))} rows")
            time.sleep(LOOK_EVERY_S)
        code = child.process.poll()
    if code == 0:
        return _rows(child.log), None
    said = [line for line in child.log.read_text(encoding="utf-8").splitlines() if not line.startswith("{")]
    reason = said[-1] if said else f"it ended with exit code {code}"
    return _rows(child.log), reason if code is not None else f"it was not done after {PART_DEADLINE_S:g} s"


def write(record: Row, folder: Path) -> Path:
    """Write the record, whole or not at all; returns its place. Raises OSError."""
    place = folder / FILE
    scratch = folder / f".{FILE}.part"
    scratch.write_text(json.dumps(record) + "\n", encoding="utf-8")
    scratch.replace(place)
    return place


def _rows(log: Path) -> list[Row]:
    """The JSON lines among what it said, without one that is still being written."""
    lines = log.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines if line.startswith("{")]
