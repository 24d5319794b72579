"""Install a foreign product from its lock into an environment of its own: .targets/<name>/.

The locks are for Linux with Python 3.11. To renew one, change its `.in` and run in `locks/`:

    uv pip compile --generate-hashes --no-header --no-emit-index-url --python-version 3.11 NAME.in -o NAME.txt
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

LOCKS = Path(__file__).parent / "locks"
FOLDER = Path(__file__).parents[2] / ".targets"
_STAMP = ".installed"


class InstallError(Exception):
    """A product could not be installed; the message is one line with the cause and the next step."""


def names() -> list[str]:
    """Return the products that can be installed."""
    return sorted({path.stem for path in LOCKS.glob("*.txt")} | {path.parent.name for path in LOCKS.glob("*/*.json")})


def venv(name: str, folder: Path = FOLDER) -> Path:
    """Return the folder of a product: a virtual environment, or for Node the parent of `node_modules`."""
    return folder / name


def installed(name: str, folder: Path = FOLDER) -> bool:
    """Whether the product is installed in the versions of its present lock."""
    stamp = venv(name, folder) / _STAMP
    return stamp.is_file() and stamp.read_text() == _digest(name)


def install(name: str, folder: Path = FOLDER, say: Callable[[str], object] = print) -> Path:
    """Install a product unless it is installed, and return its folder. Raises InstallError.

    The environment is built beside its place and renamed, so an interrupted call leaves the previous one as it was.
    """
    place, wanted = venv(name, folder), _digest(name)
    if installed(name, folder):
        return place
    say(f"Installing {name} into {place}")
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-", ignore_cleanup_errors=True) as temporary:
        built = Path(temporary, "new")
        log = folder / f"{name}.log"
        with log.open("wb") as output:
            for command in _commands(name, built):
                done = subprocess.run(command, cwd=built, stdout=output, stderr=subprocess.STDOUT, check=False)
                if done.returncode:
                    raise InstallError(f"{name} could not be installed: {_cause(log)}; the whole log: {log}")
        _relocate(built, place)
        (built / _STAMP).write_text(wanted)
        if place.exists():
            place.rename(Path(temporary, "old"))
        built.rename(place)
    megabytes = sum(path.lstat().st_size for path in place.rglob("*")) / 1e6
    say(f"Installed {name}: {time.monotonic() - started:.0f} s, {megabytes:.0f} MB")
    return place


def _lock(name: str) -> Path:
    lock = LOCKS / name / "package-lock.json"
    return lock if lock.is_file() else LOCKS / f"{name}.txt"


def _digest(name: str) -> str:
    try:
        return hashlib.sha256(_lock(name).read_bytes()).hexdigest()
    except FileNotFoundError:
        raise InstallError(f"there is no lock of {name!r}; choose from {', '.join(names())}") from None


def _commands(name: str, place: Path) -> list[list[str]]:
    """Return the commands that build the product in `place`, which is an empty folder then."""
    place.mkdir()
    lock = _lock(name)
    if lock.suffix == ".json":
        for path in lock.parent.iterdir():
            shutil.copy(path, place)
        return [[_found("npm", "Node.js"), "ci", "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund"]]
    python = sys.executable if sys.version_info[:2] == (3, 11) else _found("python3.11", "Python 3.11")
    pip = [str(place / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-compile"]
    # A lock is complete. With dependencies pip would look for other versions of those that are wanted with extras.
    return [[python, "-m", "venv", str(place)], [*pip, "--no-deps", "--require-hashes", "--requirement", str(lock)]]


def _found(program: str, product: str) -> str:
    if path := shutil.which(program):
        return path
    raise InstallError(f"{program} is not on the PATH: install {product}, then try again")


def _cause(log: Path) -> str:
    """Return the line of a log that names the cause: its last with `error`, else its last."""
    lines = log.read_text(errors="replace").split("\n")
    errors = [line.strip() for line in lines if "error" in line.lower()]
    return (errors or [line.strip() for line in lines if line.strip()] or ["no output"])[-1]


def _relocate(built: Path, place: Path) -> None:
    """Replace the path of the environment in its scripts, which name their interpreter."""
    for script in built.glob("bin/*"):
        if script.is_file() and not script.is_symlink():
            script.write_bytes(script.read_bytes().replace(bytes(built), bytes(place)))
