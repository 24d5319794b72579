"""Run the `setup` command of a target: it installs what one checkout needs, once for each state of its lock files."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.system.git import GitError, git
from bench.system.procs import Child, ChildError
from bench.targets.install import FOLDER
from bench.targets.model import Process
from bench.targets.templates import RenderError, render

LOCKS = ("*requirements*.txt", "*.lock", "package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "go.sum")
"""What a lock file is called; `process.locks` replaces them."""
WITHIN_S = 1800.0
STAMP = ".installed"
POINTERS = ("*.pth", "direct_url.json")
"""Where pip and uv note the folder from which a package was installed."""


def install(process: Process, here: Path, values: Mapping[str, Any], log: Path, name: str) -> dict[str, str]:
    """Run the command in `here`, unless it ran for the same lock files. Returns the values of {{venv}} and {{npm}}.

    `name` is the side or target, for errors. Raises ChildError with the last lines of the command's output.
    """
    top, locks = lock_files(here, process.locks or LOCKS)
    if not locks:
        wanted = ", ".join(process.locks or LOCKS)
        raise ChildError(f"{name}: process.setup needs a lock file in {top} ({wanted}); process.locks names another")
    place = FOLDER / f"setup-{_digest(process, top, locks)}"
    found = {"venv": str(place), "npm": str(place / "node_modules")}
    if (place / STAMP).exists():
        return found
    shutil.rmtree(place, ignore_errors=True)  # of a setup that was interrupted
    place.mkdir(parents=True)
    try:
        argv = [render(each, {**values, **found}) for each in process.setup or ()]
        _run(argv, here, log, name)
    except RenderError as error:
        raise ChildError(f"{name}: process.setup: {error}") from error
    if pointer := _pointer_to(top, place):
        shutil.rmtree(place)
        raise ChildError(
            f"{name}: process.setup installed the checkout itself ({pointer} names {top}), so both sides would run one"
            " code: have it install the dependencies only"
        )
    (place / STAMP).touch()
    return found


def lock_files(here: Path, patterns: Iterable[str] = LOCKS) -> tuple[Path, list[Path]]:
    """The top of the checkout that `here` lies in, and its lock files; without git those of `here` itself."""
    try:
        top = Path(git(here, "rev-parse", "--show-toplevel"))
        globs = [f":(top,glob)**/{pattern}" for pattern in patterns]
        listed = git(top, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *globs)
        found = {top / name for name in listed.split("\0") if name}
    except GitError:
        top, found = here, {file for pattern in patterns for file in here.glob(pattern)}
    return top, sorted(file for file in found if file.is_file())


def locks_digest(top: Path, locks: Iterable[Path]) -> str:
    """The hash of the names and the contents of lock files."""
    contents = [(str(file.relative_to(top)), hashlib.sha256(file.read_bytes()).hexdigest()) for file in locks]
    return _hash(contents)


def _digest(process: Process, top: Path, locks: Iterable[Path]) -> str:
    return _hash([process.setup, sys.executable, locks_digest(top, locks)])[:16]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _run(argv: list[str], here: Path, log: Path, name: str) -> None:
    if shutil.which(argv[0]) is None:
        raise ChildError(f"{name}: process.setup: {argv[0]} is not on the PATH")
    # A setup is not measured, and needs the proxies and credentials of the user.
    with Child(f"{name}: process.setup", (), log, argv=argv, env=os.environ, folder=here, ready=False) as child:
        try:
            code = child.process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            raise child.failure(f"did not end within {WITHIN_S:g} s") from None
        if code:
            raise child.failure(f"ended with exit code {code}")


def _pointer_to(top: Path, place: Path) -> Path | None:
    """The file of an installation that names the checkout, None for one without its packages."""
    files = (file for pattern in POINTERS for file in place.rglob(pattern))
    return next((file for file in files if str(top) in file.read_text(errors="replace")), None)
