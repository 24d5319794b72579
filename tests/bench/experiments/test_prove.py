"""The proof of the gate: edits that fit the service as it is, promises that are counted right, runs that are kept."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.experiments.prove import proof as prove
from bench.experiments.prove.faults import FAULTS, Fault, FaultError, change_docs
from bench.experiments.prove.proof import BASE, Proof, Request, expected_run_s, make_commits
from bench.experiments.prove.record import AA, PARTS, Entry, entry, promises
from bench.gate.commits import ROOT
from bench.record.manifest import Host
from bench.record.writer import Results
from bench.workload.plan import select
from tests.bench.experiments.prove_entries import MEASURED, seen, verdict

HERE = {fault.name: fault for fault in FAULTS}


def copied(tmp_path: Path, fault: Fault) -> Path:
    target = tmp_path / fault.file
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / fault.file, target)
    return target


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_fits_the_code_as_it_is(tmp_path: Path, fault: Fault) -> None:
    target = copied(tmp_path, fault)
    before = target.read_text()
    fault.apply(tmp_path)
    assert target.read_text() != before
    compile(target.read_text(), str(target), "exec")
    names = [sys.executable, "-m", "ruff", "check", "--quiet", "--isolated", "--select", "F821", str(target)]
    assert subprocess.run(names, check=False).returncode == 0  # no name that is not there


def test_an_edit_that_fits_nowhere_is_named(tmp_path: Path) -> None:
    fault = HERE["drop"]
    target = copied(tmp_path, fault)
    target.write_text("")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FaultError, match=r"'drop' finds no 'AbortOutcome' in backends/__init__\.py"):
            fault.apply(folder)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_each_commit_holds_its_own_change_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The clone is of what was committed, and the edits fit what is being worked on, which may be ahead of that.
    monkeypatch.setattr(Fault, "apply", lambda _self, checkout: change_docs(checkout))
    clone = tmp_path / "clone"
    commits = make_commits(clone, PARTS)
    assert list(commits) == [BASE, *PARTS]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(clone), *arguments], capture_output=True, text=True, check=True).stdout

    for part in PARTS:
        assert git("rev-parse", f"{commits[part]}^").strip() == commits[BASE]
        assert git("diff", "--name-only", commits[BASE], commits[part]).split() == ["README.md"]


@pytest.mark.parametrize("part", MEASURED)
def test_a_fault_is_found_by_what_it_does(part: str) -> None:
    assert seen(part)["found"] is True
    assert seen(part, "inconclusive")["found"] is False
    assert seen(part, "invalid")["found"] is False
    luck = {"rule": "worse", "metric": "ttft_ms", "strategy": "redis-push", "scenario": "flowing", "sentence": "luck"}
    assert entry(part, 1, verdict(part) | {"rules": [luck]}, seconds=1, code=1, reason="")["found"] is False


def test_a_leak_is_found_with_disconnect_only() -> None:
    elsewhere = verdict("leak")
    elsewhere["rules"][0]["strategy"] = "redis-push"
    assert entry("leak", 1, elsewhere, seconds=1, code=1, reason="")["found"] is False


def kept(entries: list[Entry]) -> dict[str, bool | None]:
    return {each["part"]: each["kept"] for each in promises(entries)}


def test_promises() -> None:
    twenty = [seen(AA, "equivalent", number) for number in range(19)]
    assert kept([*twenty, seen(AA)]) == {"aa": True}  # one in twenty
    assert kept([*twenty[1:], seen(AA), seen(AA)]) == {"aa": False}
    assert kept([seen(AA)]) == {"aa": False}  # one in one
    assert kept([seen("docs", "invalid"), seen("docs", "inconclusive"), seen("docs", "equivalent")]) == {"docs": True}
    assert kept([seen("docs", "equivalent"), seen("docs")]) == {"docs": False}
    assert kept([seen("drop"), seen("drop")]) == {"drop": True}
    assert kept([seen("drop"), seen("drop", "inconclusive")]) == {"drop": False}
    (told,) = promises([seen("drop"), seen("drop", "inconclusive")])
    assert told["verdicts"] == {"worse": 1, "inconclusive": 1}


def test_an_unhealthy_machine_shows_nothing() -> None:
    assert kept([seen("drop"), seen("drop", "invalid")]) == {"drop": None}
    assert kept([seen("drop", "equivalent"), seen("drop", "invalid")]) == {"drop": False}
    assert kept([seen(AA, "invalid"), seen(AA, "invalid")]) == {"aa": None}
    assert kept([seen(AA, "invalid"), seen(AA, "inconclusive")]) == {"aa": True}


def test_a_run_without_a_verdict_is_reported_as_such() -> None:
    broken = entry("aa", 1, None, seconds=1, code=4, reason="exit code 4: no such strategy")
    assert (broken["verdict"], broken["found"]) == ("invalid", None)
    assert "exit code 4" in broken["sentence"]


def request(**more: Any) -> Request:
    given: dict[str, Any] = {
        "parts": PARTS, "aa": 3, "faults": 1, "strategy": "redis-push,disconnect", "scenario": "flowing,steady",
        "workers": 2, "minutes": 1.0, "seed": 1,
    }  # fmt: skip
    return Request(**(given | more))


def test_rounds_so_that_an_interrupted_proof_has_some_of_each() -> None:
    runs = request().runs
    assert runs[: len(PARTS)] == [(part, 1) for part in PARTS]
    assert runs[len(PARTS) :] == [("aa", 2), ("aa", 3)]


def test_a_run_that_ends_after_a_block_is_expected_to() -> None:
    cases = select(scenarios=["flowing", "stalled"], strategies=["redis-push", "postgres-push", "disconnect"])
    long, short = (expected_run_s(part, cases, 10) for part in ("delay", "drop"))
    assert 30 < short < long / 2 < 300
    assert expected_run_s("delay", cases, 2) == 120


@pytest.fixture
def proof(tmp_path: Path) -> Proof:
    return Proof(
        request(strategy="redis-pull"), Results(tmp_path, "prove"), tmp_path / "noise.json", lambda _said: None
    )


def test_a_gate_that_breaks_off_is_kept_with_its_reason(proof: Proof, tmp_path: Path) -> None:
    """The real command, which knows no such strategy."""
    said = proof._gate(ROOT, "aa", 1, "HEAD", tmp_path / "gone")
    assert (said["verdict"], said["exit_code"]) == ("invalid", 4)
    assert "redis-pull" in said["sentence"]


def test_only_the_harmless_commit_is_measured_beside_a_burner(proof: Proof, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prove, "describe_host", lambda: Host(cpus=1))

    def burners() -> list[psutil.Process]:
        return [each for each in psutil.Process().children() if "bench.system.burner" in each.cmdline()]

    with proof._burden("delay"):
        assert burners() == []
    with proof._burden("docs"):
        deadline = time.monotonic() + 5
        while not burners() and time.monotonic() < deadline:  # its command line is not there at once
            time.sleep(0.01)
        assert len(burners()) == 1
    assert burners() == []
