"""Writes a gate's outcome for machines and people: verdict.json, verdict.xml, verdict.md, benchmark.json, GitHub."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.analysis.reading import case_name
from bench.gate.family import Finding
from bench.gate.github import markdown, smaller_is_better, workflow_commands
from bench.gate.junit import junit
from bench.gate.outcome import Outcome
from bench.gate.verdict_text import sentence
from bench.gate.zero_tolerance import Fired
from bench.stats.proportions import LEVEL, Losses

SCHEMA = 1
RECORD, JUNIT, SUMMARY, BENCHMARK = "verdict.json", "verdict.xml", "verdict.md", "benchmark.json"
DIGITS = 6


def record(outcome: Outcome) -> dict[str, Any]:
    """The contents of verdict.json.

    `{"schema": 1, "verdict", "exit_code", "sentence", "blocks", "rules": [every rule that fired], "findings": [every
    metric of every case], "unproven", "doubts", "losses", "problems", "notes", "margins", "base", "head"}`. A rule has
    `rule` (a zero-tolerance rule's name, or `worse`), `metric`, `scenario`, `strategy`, `workers`, `effect`,
    `interval`, `margin`, `sentence`; `effect` is `{"ratio", "shift"}` or, for a zero-tolerance rule, `{"base", "head"}`
    counts. `unproven` are rules that do not
    count, since the measurement is invalid or only blocks showed them that are no evidence; `losses` are head's:
    `{"lost", "aborts", "at_most", "level", "sentence", "strategies": {strategy: {"lost", "aborts", "at_most"}}}`.
    """
    return {
        "schema": SCHEMA,
        "verdict": outcome.verdict,
        "exit_code": outcome.exit_code,
        "sentence": outcome.sentence,
        "blocks": outcome.blocks,
        "rules": [
            *(_broken(each) for each in outcome.rules),
            *({"rule": "worse", **_found(each, outcome)} for each in outcome.having("worse")),
        ],
        "findings": [_found(each, outcome) for each in outcome.judged],
        "unproven": [_broken(each) for each in outcome.unproven],
        "doubts": list(outcome.doubts),
        "losses": {
            **_lost(outcome.lost),
            "level": LEVEL,
            "sentence": outcome.lost.sentence,
            "strategies": {name: _lost(each) for name, each in outcome.losses.items()},
        },
        "problems": {
            "base": list(outcome.base_problems),
            "head": list(outcome.head_problems),
            "instrument": list(outcome.instrument_problems),
        },
        "notes": list(outcome.notes),
        "margins": outcome.margins_say,
        "base": dict(outcome.base),
        "head": dict(outcome.head),
    }


def write(
    outcome: Outcome, folder: Path, say: Callable[[str], None], environ: Mapping[str, str] = os.environ
) -> list[Path]:
    """Write the four files into `folder` (made if absent) and return them; raises OSError when it cannot.

    On GitHub also the step summary, the step's outputs (`verdict`, `exit-code`, `measured`) and, through `say`, the
    annotations.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = markdown(outcome)
    contents = {
        RECORD: json.dumps(record(outcome), indent=1, allow_nan=False) + "\n",
        JUNIT: junit(outcome),
        SUMMARY: page,
        BENCHMARK: json.dumps(smaller_is_better(outcome), indent=1, allow_nan=False, ensure_ascii=False) + "\n",
    }
    _write(folder, contents)
    _append(environ.get("GITHUB_STEP_SUMMARY"), page)
    _outputs(environ, outcome.verdict, outcome.exit_code, measured=True)
    if environ.get("GITHUB_ACTIONS"):
        for line in workflow_commands(outcome):
            say(line)
    return [folder / name for name in contents]


def write_failure(reason: str, code: int, folder: Path | None, environ: Mapping[str, str] = os.environ) -> None:
    """Tell machines and GitHub that nothing was measured, and why; the program ends with `code`.

    verdict.json and verdict.xml go into `folder` where that exists: one of a run that broke off. Raises OSError.
    """
    outcome = Outcome([], [], {}, {}, margins_say="", instrument_problems=[reason])
    _append(environ.get("GITHUB_STEP_SUMMARY"), markdown(outcome))
    _outputs(environ, outcome.verdict, code, measured=False)
    if folder is not None and folder.is_dir():
        kept = record(outcome) | {"exit_code": code}
        contents = {RECORD: json.dumps(kept, indent=1, allow_nan=False) + "\n", JUNIT: junit(outcome)}
        _write(folder, contents)


def _write(folder: Path, contents: Mapping[str, str]) -> None:
    """Write all files or none: on a full disk the old ones stay. Raises OSError."""
    scratch = {folder / f".{name}.part": folder / name for name in contents}
    try:
        for part, target in scratch.items():
            part.write_text(contents[target.name], encoding="utf-8")
    except OSError:
        for part in scratch:
            with suppress(OSError):
                part.unlink()
        raise
    for part, target in scratch.items():
        part.replace(target)


def _outputs(environ: Mapping[str, str], verdict: str, code: int, *, measured: bool) -> None:
    told = f"verdict={verdict}\nexit-code={code}\nmeasured={'true' if measured else 'false'}\n"
    _append(environ.get("GITHUB_OUTPUT"), told)


def _append(path: str | None, text: str) -> None:
    if path:
        with Path(path).open("a", encoding="utf-8") as lines:
            lines.write(text)


def _broken(fired: Fired) -> dict[str, Any]:
    return {
        "rule": fired.rule,
        "metric": fired.rule,
        **_place(fired),
        "effect": {"base": fired.base, "head": fired.head},
        "interval": None,
        "margin": {"allowed": 0} if fired.p is None else {"p": _rounded(fired.p)},
        "sentence": fired.sentence,
    }


def _found(finding: Finding, outcome: Outcome) -> dict[str, Any]:
    decision = finding.decision
    return {
        "metric": finding.metric,
        **_place(finding),
        "verdict": decision.verdict,
        "unit": outcome.unit(finding.metric),
        "blocks": decision.blocks,
        "base": _rounded(decision.base),
        "head": _rounded(decision.head),
        "effect": {"ratio": _rounded(decision.ratio), "shift": _rounded(decision.shift)},
        "interval": {
            "level": 0.9,
            "ratio": [_rounded(end) for end in decision.interval("ratio")],
            "shift": [_rounded(end) for end in decision.interval("shift")],
        },
        "margin": {
            "share": _rounded(decision.margin.share),
            "slack": _rounded(decision.margin.slack),
            "higher_is_better": decision.margin.higher_is_better,
        },
        "p": {"worse": _rounded(decision.p_worse), "better": _rounded(decision.p_better)},
        "power": _rounded(decision.power),
        "sentence": sentence(finding, outcome),
    }


def _lost(losses: Losses) -> dict[str, Any]:
    return {"lost": losses.lost, "aborts": losses.aborts, "at_most": _rounded(losses.at_most)}


def _place(where: Finding | Fired) -> dict[str, Any]:
    case = where.case
    return {
        "scenario": case.scenario,
        "strategy": case.strategy,
        "workers": case.workers,
        "streams": case.streams,
        "case": case_name(case),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
