"""Checks that a started service runs the code of the checkout that is to be measured."""

import subprocess
import sys
from pathlib import Path

import psutil

from bench.record.host import describe_commit
from bench.record.manifest import CodeInfo
from bench.system.git import git
from bench.system.http import AnswerError, request_json
from bench.system.procs import Child, ChildError

IMPORTED = "import importlib.util as util; print(util.find_spec('server').origin)"
DEADLINE_S = 20.0


def code_of(service: Child, checkout: Path) -> CodeInfo:
    """The code of a service that was started in `checkout`.

    `reported`: its /healthz names them. Code of before 2026-12 does not: then `module` is the file that a Python with
    the service's environment and folder imports, and `commit` that of the checkout. Raises ChildError where the code
    is not that of the checkout.
    """
    try:
        health = request_json(service.url, "/healthz")
    except (OSError, AnswerError) as error:
        service.check()
        raise ChildError(f"{service.name} does not answer /healthz: {error}; its log is {service.log}") from error
    expected = describe_commit(checkout)[0]
    reported = bool(health.get("module"))
    module = Path(health["module"] if reported else _imported(service)).resolve()
    commit = health.get("commit") or expected  # null: the service found no git
    if not module.is_relative_to(checkout.resolve()) or commit != expected:
        raise ChildError(
            f"the service that was started in {checkout} runs other code: {module} of commit {_short(commit)}, expected"
            f" {_short(expected)}; unset PYTHONPATH and PYTHONSAFEPATH"
        )
    return CodeInfo(module=str(module), commit=commit, reported=reported)


def folder_of(service: Child, checkout: Path) -> CodeInfo:
    """The code of another service: its working folder, or the part of its command that names the checkout.

    Raises ChildError for a command that has nothing to do with the checkout: both sides would run the same code.
    """
    top = Path(git(checkout, "rev-parse", "--show-toplevel"))
    try:
        folder = Path(psutil.Process(service.process.pid).cwd())
    except psutil.Error as error:
        service.check()
        raise ChildError(f"the folder of {service.name} could not be determined: {error}") from error
    if folder.resolve().is_relative_to(top):
        return CodeInfo(module=str(folder), commit=describe_commit(checkout)[0])
    for part in service.argv:
        if str(top) in part:
            return CodeInfo(module=part, commit=describe_commit(checkout)[0])
    raise ChildError(
        f"{service.name} does not run the code of its checkout, {checkout}: name it by {{{{here}}}} in process.folder"
        " or process.argv"
    )


def _imported(service: Child) -> str:
    """The file of the `server` package that a new Python finds in the service's place."""
    process = psutil.Process(service.process.pid)
    command = [sys.executable, "-c", IMPORTED]
    try:
        place, env = process.cwd(), process.environ()
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=DEADLINE_S, cwd=place, env=env
        )
    except (OSError, subprocess.SubprocessError, psutil.Error) as error:
        raise ChildError(f"the code that {service.name} runs could not be determined: {error}") from error
    return done.stdout.strip()


def _short(commit: str | None) -> str:
    return commit[:7] if commit else "unknown"
