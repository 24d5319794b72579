"""Proves the gate: runs it on commits with known faults, on a commit against itself, and on one that is harmless."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.experiments.prove.faults import FAULTS, change_docs
from bench.experiments.prove.record import AA, DOCS, PARTS, Entry, entry, promises, write
from bench.gate.commits import ROOT
from bench.load.driver import expected_s
from bench.record.writer import Results, describe_host, utc_now
from bench.run.instrument import CALIBRATION_CASE, FLOOR_CASE
from bench.stats.paired import MIN_BLOCKS
from bench.system import lock
from bench.system.embedded import temporary_folder
from bench.system.environment import of_stores
from bench.system.git import git
from bench.system.procs import Child
from bench.workload.plan import Case

SERVICE_S = 3.0
"""About how long a service takes to start, warm up and stop; twice in a block for each strategy."""
SET_UP_S = 10.0
ONE_BLOCK = ("drop", "leak")
"""Broken rules end a run, mostly after its first block."""
LOOK_S = 0.5
COMMITTER = {"user.name": "bench prove", "user.email": "bench@localhost", "commit.gpgsign": "false"}
BASE = "base"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What a proof was asked for; `strategy`, `scenario`, `workers` and `minutes` are handed to every gate run."""

    parts: Sequence[str]
    aa: int
    faults: int
    strategy: str
    scenario: str
    workers: int
    minutes: float
    seed: int

    def runs_of(self, part: str) -> int:
        """How many gate runs a part takes."""
        return self.aa if part == AA else self.faults

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Part and number of every gate run: in rounds, so that one that is interrupted has some of each part."""
        most = max(self.runs_of(part) for part in self.parts)
        return [
            (part, number)
            for number in range(1, most + 1)
            for part in PARTS
            if part in self.parts and number <= self.runs_of(part)
        ]


def expected_run_s(part: str, cases: Sequence[Case], minutes: float) -> float:
    """About how long a gate run of this part takes on a quiet machine, in seconds."""
    services = 2 * len({(case.strategy, case.workers) for case in cases})
    services += 2 * len({case.workers for case in cases if case.store == "postgres" and not case.scenario.abort_share})
    block_s = expected_s(FLOOR_CASE) + 2 * sum(map(expected_s, cases)) + services * SERVICE_S
    blocks = 1 if part in ONE_BLOCK else MIN_BLOCKS
    return min(SET_UP_S + expected_s(CALIBRATION_CASE) + blocks * block_s, max(minutes * 60, block_s))


class Proof:
    """One proof; `run` measures, and `entries` are what was measured so far. prove.json is written after each run."""

    def __init__(self, asked: Asked, kept: Results, noise: Path, say: Say) -> None:
        self._asked = asked
        self._kept = kept
        self._noise = noise.absolute()
        self._say = say
        self.entries: list[Entry] = []
        self._record: dict[str, Any] = {
            "started_utc": utc_now(),
            "commit": None,
            "host": describe_host(),
            "asked": asdict(asked) | {"parts": list(asked.parts)},
            "complete": False,
        }

    def run(self, finished: Callable[[Entry], None]) -> None:
        """Run every gate; `finished` gets each. Raises GitError, FaultError, ChildError, KeyboardInterrupt."""
        with temporary_folder("prove") as scratch:
            clone = scratch / "clone"
            self._say("making a clone")
            commits = make_commits(clone, self._asked.parts)
            self._record["commit"] = commits[BASE]
            self._write()
            for part, number in self._asked.runs:
                git(clone, "checkout", "--quiet", "--detach", commits[part])
                with self._burden(part):
                    self.entries.append(self._gate(clone, part, number, commits[BASE], scratch / f"{part}-{number}"))
                self._write()
                finished(self.entries[-1])
        self._record["complete"] = True
        self._write()

    @contextlib.contextmanager
    def _burden(self, part: str) -> Iterator[None]:
        """For the harmless commit a process that burns CPU time on every core."""
        with contextlib.ExitStack() as stack:
            for number in range(describe_host()["cpus"] if part == DOCS else 0):
                log = self._kept.logs / f"burner-{number}.log"
                stack.enter_context(Child("burner", ["bench.system.burner"], log, ready=False, folder=ROOT))
            yield

    def _gate(self, clone: Path, part: str, number: int, base: str, results: Path) -> Entry:
        """One gate run, as a user starts it, in the clone."""
        asked, log = self._asked, self._kept.logs / f"{part}-{number}.log"
        arguments = ["bench", "regress", "--base", base, "--strategy", asked.strategy, "--scenario", asked.scenario]
        arguments += ["--workers", str(asked.workers), "--minutes", str(asked.minutes)]
        arguments += ["--seed", str(asked.seed + number), "--noise", str(self._noise), "--results", str(results)]
        # Without GITHUB_*: none of these runs is the job's own verdict. This bench holds the machine's lock for them.
        env = of_stores() | {lock.VARIABLE: str(results.parent / "lock")}
        began = time.monotonic()
        with Child("gate", arguments, log, env=env, ready=False, folder=clone) as gate:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = gate.process.wait(LOOK_S)
                    break
                self._say(f"{part} {number} of {asked.runs_of(part)}: {time.monotonic() - began:.0f} s; {_last(log)}")
        verdict = self._keep(results, f"{part}-{number}.json")
        took_s = time.monotonic() - began
        return entry(part, number, verdict, seconds=took_s, code=code, said=f"exit code {code}: {_last(log)}")

    def _keep(self, results: Path, name: str) -> Mapping[str, Any] | None:
        """The run's verdict.json, kept under this name; the raw rows of some dozens of runs are not."""
        found = next(iter(results.glob("*/verdict.json")), None)
        verdict = None
        if found is not None:
            shutil.copyfile(found, self._kept.folder / name)
            verdict = json.loads(found.read_text(encoding="utf-8"))
        shutil.rmtree(results, ignore_errors=True)
        return verdict

    def _write(self) -> None:
        write(self._kept.folder, {**self._record, "runs": self.entries, "promises": promises(self.entries)})


def make_commits(clone: Path, parts: Sequence[str]) -> dict[str, str]:
    """Clone this checkout's HEAD, and commit each part's change on top of it: the commits of BASE and of each part.

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


def _last(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "starting")
