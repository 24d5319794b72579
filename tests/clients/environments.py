"""`python -m tests.clients.environments`: install the clients, each into an environment of its own under .clients/.

`--load-tools` installs guidellm and aiperf as well. What is there already, in the pinned versions, is left as it is.
Exit code 4 when something could not be installed.
"""

import json
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from importlib.metadata import Distribution
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PROGRAMS = HERE / "programs"
NODE = "node"
FAILED = 4
INTERRUPTED = 130
_PINS = tomllib.loads((HERE / "pins.toml").read_text())
_NODE_FILES = ("package.json", "package-lock.json")


class InstallError(Exception):
    """Something could not be installed; the message is one line with the cause and the next step."""


def folder(name: str) -> Path:
    """Return where an environment is."""
    return ROOT / ".clients" / name


def python(name: str) -> Path:
    """Return an environment's Python."""
    return folder(name) / "bin" / "python"


def ready(name: str) -> bool:
    """Whether the environment is there and holds what is pinned today."""
    stamp = _stamp(name)
    return stamp.exists() and stamp.read_text() == _wanted(name)


def version(name: str | None, package: str) -> str:
    """Return the version of an installed package; None is the project's own environment."""
    if name == NODE:
        return str(json.loads((folder(NODE) / "node_modules" / package / "package.json").read_text())["version"])
    where = sys.path if name is None else [str(next(folder(name).glob("lib/python3*/site-packages")))]
    return next(iter(Distribution.discover(name=package, path=where))).version


def make(name: str) -> None:
    """Install one environment, unless it is ready. Raises InstallError."""
    if ready(name):
        return
    print(f"Installing {name} into {folder(name).relative_to(ROOT)}", flush=True)  # noqa: T201
    _stamp(name).unlink(missing_ok=True)
    folder(name).mkdir(parents=True, exist_ok=True)
    if name == NODE:
        npm = shutil.which("npm")
        if npm is None:
            raise InstallError("the clients for Node need npm, which is not on the PATH: install Node.js")
        for each in _NODE_FILES:
            shutil.copy(HERE / each, folder(NODE) / each)
        programs = folder(NODE) / PROGRAMS.name  # Node looks for packages beside a program and in the folders above it
        programs.unlink(missing_ok=True)
        programs.symlink_to(PROGRAMS)
        _run(name, [npm, "ci", "--no-audit", "--no-fund"])
    else:
        try:
            venv.create(folder(name), clear=True, with_pip=True)
        except subprocess.CalledProcessError:  # it has printed why
            raise InstallError(
                "Python cannot make a virtual environment; on Debian: apt-get install python3-venv"
            ) from None
        _run(name, [str(python(name)), "-m", "pip", "install", "--disable-pip-version-check", *_pins(name)])
    _stamp(name).write_text(_wanted(name))


def _run(name: str, command: Sequence[str]) -> None:
    log = folder(name).with_suffix(".log")
    with log.open("wb") as written:
        done = subprocess.run(command, cwd=folder(name), stdout=written, stderr=subprocess.STDOUT, check=False)
    if code := done.returncode:
        lines = log.read_text(errors="replace").strip().splitlines()
        last = lines[-1] if lines else "no output"
        raise InstallError(f"{name} could not be installed (exit code {code}): {last}; the whole log: {log}")


def _stamp(name: str) -> Path:
    return folder(name) / ".pinned"


def _wanted(name: str) -> str:
    if name == NODE:
        return (HERE / "package-lock.json").read_text()
    return "\n".join(_pins(name))


def _pins(name: str) -> list[str]:
    found: list[str] = (_PINS["clients"] | _PINS["load-tools"])[name]
    return found


def main() -> int:
    """Install what is missing; return the exit code."""
    names = [NODE, *_PINS["clients"]]
    if "--load-tools" in sys.argv[1:]:
        names += _PINS["load-tools"]
    try:
        for name in names:
            make(name)
    except InstallError as error:
        print(f"clients: {error}", file=sys.stderr)  # noqa: T201
        return FAILED
    except KeyboardInterrupt:  # pip and npm get it as well; what is half installed is installed anew
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
