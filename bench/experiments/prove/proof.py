"""Runs the gate on commits with known faults, on a commit against itself, and on a harmless one."""

import contextlib
import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.experiments.frame import last_line, wait, write_json
from bench.experiments.prove.faults import FAULTS, change_docs
from bench.experiments.prove.record import AA, DOCS, FILE, PARTS, SCHEMA, Entry, entry, promises
from bench.gate.commits import ROOT
from bench.gate.pairing import longer
from bench.load.driver import expected_s
from bench.record.host import describe_host, utc_now
from bench.record.writer import Results
from bench.run.duet import shares_load
from bench.run.instrument import CALIBRATION_CASE, FLOOR_CASE
from bench.stats.paired import MIN_BLOCKS
from bench.system import lock
from bench.system.embedded import temporary_folder
from bench.system.environment import of_stores
from bench.system.git import git
from bench.system.procs import Child
from bench.workload.plan import Case
from bench.workload.scenario import PlanError
from bench.workload.schedule import twice

SERVICE_S = 3.0
"""About the time to start, warm up and stop a service; twice in a block for each strategy."""
SET_UP_S = 10.0
ONE_BLOCK = ("drop", "leak")
"""A broken rule ends a run, mostly after its first block."""
COMMITTER = {"user.name": "bench prove", "user.email": "bench@localhost", "commit.gpgsign": "false"}
BASE = "base"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """The options of a proof; `strategy`, `scenario`, `workers` and `minutes` are passed to every gate run."""

    parts: Sequence[str]
    aa: int
    faults: int
    strategy: str
    scenario: str
    workers: int
    minutes: float
    seed: int

    def runs_of(self, part: str) -> int:
        """The number of gate runs of a part."""
        return self.aa if part == AA else self.faults

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Part and number of every gate run: in rounds, so that an interrupted proof has some of each part."""
        rounds = range(1, max(self.aa, self.faults) + 1)
        parts = [part for part in PARTS if part in self.parts]
        return [(part, number) for number in rounds for part in parts if number <= self.runs_of(part)]


def expected_run_s(part: str, cases: Sequence[Case], minutes: float) -> float:
    """About the time of a gate run of this part on a quiet machine, in seconds."""
    shared = [case for case in longer(cases) if shares_load(case)]
    turns = [case for case in cases if not shares_load(case)]
    services = 2 * sum(len({(case.strategy, case.workers) for case in each}) for each in (shared, turns))
    services += 2 * len({case.workers for case in turns if case.store == "postgres"})
    loads_s = [expected_s(replace(case, scenario=twice(case.scenario))) for case in shared]
    block_s = sum(loads_s) + 2 * sum(map(expected_s, turns)) + services * SERVICE_S
    blocks = 1 if part in ONE_BLOCK else MIN_BLOCKS
    once_s = SET_UP_S + expected_s(CALIBRATION_CASE) + expected_s(FLOOR_CASE)
    return min(once_s + blocks * block_s, max(minutes * 60, block_s))


def chosen_parts(only: Sequence[str], strategies: Sequence[str], scenarios: Sequence[str]) -> list[str]:
    """The parts `only` (all if empty), in order. Raises PlanError for unknown parts and faults that cannot show."""
    if unknown := [name for name in only if name not in PARTS]:
        raise PlanError(f"--only {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    parts = [part for part in PARTS if part in only or not only]
    for fault in (each for each in FAULTS if each.name in parts):
        if not any(fault.needs in name for name in strategies):
            raise PlanError(f"{fault.name} {fault.sentence}: it shows only with a strategy that is *{fault.needs}")
        if fault.needs_scenario and fault.needs_scenario not in scenarios:
            raise PlanError(f"{fault.name} {fault.sentence}: it shows only in the scenario {fault.needs_scenario}")
    return parts


def time_left(request: Request, done: Sequence[Entry], cases: Sequence[Case]) -> str:
    """The expected time of the other runs, from the finished ones of their part, or else from their loads."""
    left_s = 0.0
    for part, _number in request.runs[len(done) :]:
        took_s = [each["seconds"] for each in done if each["part"] == part]
        left_s += statistics.fmean(took_s) if took_s else expected_run_s(part, cases, request.minutes)
    return f"about {left_s / 60:.0f} minutes left"


class Proof:
    """One proof; `entries` are the gate runs so far. prove.json is written after each run."""

    def __init__(self, request: Request, kept: Results, noise: Path, say: Say) -> None:
        self._request, self._kept, self._noise, self._say = request, kept, noise.absolute(), say
        self.entries: list[Entry] = []
        asked = asdict(request) | {"parts": list(request.parts)}
        self._record: dict[str, Any] = {"started_utc": utc_now(), "commit": None, "host": describe_host()}
        self._record |= {"asked": asked, "complete": False}

    @property
    def commit(self) -> str | None:
        """The commit that is proven, once it was cloned."""
        found: str | None = self._record["commit"]
        return found

    def run(self) -> Iterator[Entry]:
        """Make the gate runs, one after the other. Raises GitError, FaultError, ChildError."""
        with temporary_folder("prove") as scratch:
            clone = scratch / "clone"
            self._say("cloning HEAD")
            commits = make_commits(clone, self._request.parts)
            self._record["commit"] = commits[BASE]
            self._write()
            for part, number in self._request.runs:
                git(clone, "checkout", "--quiet", "--detach", commits[part])
                with self._burden(part):
                    self.entries.append(self._gate(clone, part, number, commits[BASE], scratch / f"{part}-{number}"))
                self._write()
                yield self.entries[-1]
        self._record["complete"] = True
        self._write()

    @contextlib.contextmanager
    def _burden(self, part: str) -> Iterator[None]:
        """For the harmless commit, a process that burns CPU time on every core."""
        with contextlib.ExitStack() as stack:
            for number in range(describe_host().cpus or 0 if part == DOCS else 0):
                log = self._kept.logs / f"burner-{number}.log"
                stack.enter_context(Child("burner", ["bench.system.burner"], log, ready=False, folder=ROOT))
            yield

    def _gate(self, clone: Path, part: str, number: int, base: str, results: Path) -> Entry:
        """One gate run, started in the clone as a user does."""
        options, log = self._request, self._kept.logs / f"{part}-{number}.log"
        arguments = ["bench", "regress", "--base", base, "--strategy", options.strategy, "--scenario", options.scenario]
        arguments += ["--workers", str(options.workers), "--minutes", str(options.minutes)]
        arguments += ["--seed", str(options.seed + number), "--noise", str(self._noise), "--results", str(results)]
        # Without GITHUB_*: none of these verdicts is the job's own. The machine's lock is held by this process.
        env = of_stores() | {lock.VARIABLE: str(results.parent / "lock")}
        began = time.monotonic()
        with Child("gate", arguments, log, env=env, ready=False, folder=clone) as gate:
            name = f"{part} {number} of {options.runs_of(part)}"
            code = wait(gate, lambda took_s: self._say(f"{name}: {took_s:.0f} s; {last_line(log)}"))
        verdict = None
        for found in results.glob("*/verdict.json"):
            shutil.copyfile(found, self._kept.folder / f"{part}-{number}.json")
            verdict = json.loads(found.read_text(encoding="utf-8"))
        shutil.rmtree(results, ignore_errors=True)  # the raw rows
        reason = f"exit code {code}: {last_line(log)}"
        return entry(part, number, verdict, seconds=time.monotonic() - began, code=code, reason=reason)

    def _write(self) -> None:
        record = {"schema": SCHEMA, **self._record, "runs": self.entries, "promises": promises(self.entries)}
        write_json(self._kept.folder / FILE, record)


def make_commits(clone: Path, parts: Sequence[str]) -> dict[str, str]:
    """Clone HEAD, and commit each part's change on top of it; returns the commits of BASE and of each part.

    `aa` changes docs only: the gate refuses to compare a commit with itself. Raises GitError, FaultError.
    """
    head = git(ROOT, "rev-parse", "HEAD")
    clone.parent.mkdir(parents=True, exist_ok=True)
    git(clone.parent, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone))
    commits = {BASE: head}
    changes = {AA: change_docs} | {fault.name: fault.apply for fault in FAULTS} | {DOCS: change_docs}
    for part, change in changes.items():
        if part in parts:
            git(clone, "checkout", "--quiet", "--detach", head)
            change(clone)
            git(clone, "commit", "--quiet", "--all", "--message", part, config=COMMITTER)
            commits[part] = git(clone, "rev-parse", "HEAD")
    return commits
