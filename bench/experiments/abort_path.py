"""`python -m bench backends`: the abort path itself, between two processes, on real stores; no HTTP, no service."""

import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.experiments.frame import provenance, start_store, wait, write_json
from bench.experiments.tables import Row
from bench.record.host import utc_now
from bench.record.writer import check_writable
from bench.run.rig import Say
from bench.system.embedded import StoreError, temporary_folder
from bench.system.procs import Child
from bench.system.stores import Store

# History of abort-path.json. Readers refuse other schemas.
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
    "postgres": {"max_connections": "500"},  # 64 workers listen at the same time, each with its own pool
}
PART_DEADLINE_S = 300.0


def measure(kinds: Sequence[str], folder: Path, say: Say, *, quick: bool = False) -> Row:
    """Measure these stores and return the record; abort-path.json in `folder` holds it from the first part on.

    `say` gets the current step. A part that fails is in `unmeasured`, with its reason; the others go on. Raises
    FolderError when the folder cannot be written, and OSError when that happens later.
    """
    record: Row = {"schema": SCHEMA, "started": utc_now(), **provenance(), "quick": quick, "pairs": PAIRS}
    record |= {"stores": {}, "samples": {}, "unmeasured": []}
    check_writable(folder)
    write_json(folder / FILE, record, indent=None)
    for kind in kinds:
        with ExitStack() as stack:
            say(f"starting {kind}")
            namespace = f"stopwatch_bench_{secrets.token_hex(3)}"
            try:
                store = start_store(stack, kind, namespace, SETTINGS[kind])
            except StoreError as error:
                record["unmeasured"].append(f"{kind}: {error}")
                continue
            record["stores"][kind] = {"name": store.name, "version": store.version, "how": store.how}
            logs = stack.enter_context(temporary_folder("measure"))
            for part in PARTS:
                rows, failure = measure_part(store, part, logs, namespace, say, quick=quick)
                record["samples"].setdefault(kind, {})[part] = rows
                if failure:
                    record["unmeasured"].append(f"{kind} {part}: {failure}")
                write_json(folder / FILE, record, indent=None)
    return record


def measure_part(
    store: Store, part: str, logs: Path, namespace: str, say: Say, *, quick: bool
) -> tuple[list[Row], str | None]:
    """The rows that `python -m backends.measure` printed, and why there are not all of them, or None."""
    arguments = ["backends.measure", part, "--namespace", namespace, "--pairs", str(PAIRS)]
    if part in SAMPLES:
        arguments += ["--samples", str((QUICK_SAMPLES if quick else SAMPLES)[part])]
    # Not an argument: the address may hold a password, and every user can read arguments.
    env = {"ABORT_BACKEND": store.strategy_url("push")}
    with Child(f"measuring {part}", arguments, logs / part, env=env, ready=False) as child:
        code = wait(child, lambda _: say(f"{store.kind} {part}: {len(_output(child.log)[0])} rows"), PART_DEADLINE_S)
    rows, messages = _output(child.log)
    if code == 0:
        return rows, None
    if code is None:
        return rows, f"it was not done after {PART_DEADLINE_S:g} s"
    return rows, messages[-1] if messages else f"it ended with exit code {code}"


def _output(log: Path) -> tuple[list[Row], list[str]]:
    """The JSON rows and the other lines of the output, without a line that is not complete yet."""
    lines = log.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines if line.startswith("{")], [x for x in lines if not x.startswith("{")]
