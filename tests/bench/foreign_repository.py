"""A small chat service in a repository of its own, and the steps of our action, run on it as a runner does."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SERVICE = Path(__file__).parent / "foreign"
CANCEL = "    task.cancel()\n"
FAULTS = {
    "lost": "    if int(run_id[0], 16) >= 4:  # a quarter is accepted without effect\n        task.cancel()\n",
    "slow": "    asyncio.get_running_loop().call_later(0.05, task.cancel)\n",
    "broken": "    task.cancel(\n",
    "none": "    task.cancel()  # a comment\n",
}
"""What head does in place of `task.cancel()`."""


@dataclass(frozen=True)
class Action:
    """What the steps of the action left: exit code of the last step that ran, outputs, console, results folder."""

    code: int
    outputs: dict[str, str]
    text: str
    results: Path


def git(folder: Path, *arguments: str) -> str:
    """Run git as an author who exists nowhere."""
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def repository(parent: Path, fault: str) -> Path:
    """The service in a repository with two commits on `main`; the second one has the fault."""
    top = parent / "small chat"
    shutil.copytree(SERVICE, top, ignore=shutil.ignore_patterns("__pycache__"))
    git(parent, "init", "--quiet", "--initial-branch=main", str(top))
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "base")
    program = (top / "app.py").read_text()
    assert program.count(CANCEL) == 1
    (top / "app.py").write_text(program.replace(CANCEL, FAULTS[fault]))
    git(top, "commit", "--quiet", "--all", "--message", fault)
    return top


def action_folder(parent: Path) -> Path:
    """A checkout of the action that is set up already: this one, with the Python of the tests."""
    folder = parent / "action"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for each in ROOT.iterdir():
        if each.name not in (".git", ".venv", ".targets", "results"):
            (folder / each.name).symlink_to(each)
    (parent / "bin").mkdir()
    for name, script in ((folder / ".venv/bin/python", f'exec {sys.executable} "$@"'), (parent / "bin/make", "exit 0")):
        name.write_text(f"#!/bin/sh\n{script}\n")
        name.chmod(0o755)
    return folder


def run_action(workspace: Path, parent: Path, **inputs: str) -> Action:
    """Run the shell steps of action.yml for a checkout; what it `uses` is left out.

    An expression that this function does not know fails with KeyError.
    """
    action: dict[str, Any] = importlib.import_module("yaml").safe_load((ROOT / "action.yml").read_text())
    unknown = inputs.keys() - action["inputs"].keys()
    assert not unknown, f"action.yml has no inputs {unknown}"
    known = {f"inputs.{name}": inputs.get(name, each["default"]) for name, each in action["inputs"].items()}
    known |= {"github.action_path": str(action_folder(parent)), "runner.temp": str(parent)}
    written, code, text, outputs = parent / "outputs", 0, "", dict[str, str]()
    names = re.findall(r"steps\.measure\.outputs\.([\w-]+)", (ROOT / "action.yml").read_text())
    for step in action["runs"]["steps"]:
        if "run" not in step or code:
            continue
        written.touch()
        outputs = dict(line.split("=", 1) for line in written.read_text().splitlines())
        values = known | {f"steps.measure.outputs.{name}": outputs.get(name, "") for name in names}
        environment = {
            name: re.sub(r"\$\{\{ (.*?) \}\}", lambda found: values[found[1]], value)  # noqa: B023 - used at once
            for name, value in step["env"].items()
        }
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", step["run"]],
            env=os.environ
            | {"PATH": f"{parent / 'bin'}:{os.environ['PATH']}", "GITHUB_WORKSPACE": str(workspace)}
            | {"GITHUB_OUTPUT": str(written), "BENCH_LOCK": str(parent / "lock")}
            | environment,
            cwd=workspace,
            capture_output=True,
            text=True,
            check=False,
        )
        code, text = done.returncode, text + done.stdout + done.stderr
    return Action(code, outputs, text, parent / "stopwatch-gate")
