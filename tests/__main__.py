"""Run the tests: the pure ones on all cores, then those that wait for events, then the others one at a time.

`python -m tests [PYTEST ARGUMENTS]` exits as pytest does. `python -m pytest` runs all of them one at a time.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.parallel import MARKERS, parts_of

PARALLEL = ("-n", "logical", "--maxprocesses", "4", "--dist", "loadfile")
SERIAL = ("-m", " and ".join(f"not {name}" for name in MARKERS))
ONE_SESSION = {"-m", "-s", "--pdb", "--collect-only", "--co"}
"""Options that select tests by marker, or need the terminal."""
FINISHED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)


def main(arguments: Sequence[str]) -> int:
    """Return pytest's exit code; no further part runs after an interrupt or a usage error."""
    selected = _parts(arguments)
    if ONE_SESSION & set(arguments) or not selected:
        return pytest.main([*arguments])
    codes: list[int] = []
    for part in (*(("-m", name, *PARALLEL) for name in MARKERS if name in selected), SERIAL):
        codes.append(pytest.main([*part, *arguments]))
        if codes[-1] not in FINISHED:
            return codes[-1]
    if pytest.ExitCode.TESTS_FAILED in codes:
        if codes[-1] != pytest.ExitCode.TESTS_FAILED:
            sys.stderr.write("tests: tests failed; they are listed in an earlier one of the summaries above\n")
        return pytest.ExitCode.TESTS_FAILED
    return min(codes)


def _parts(arguments: Sequence[str]) -> set[str]:
    """The markers that the paths among the arguments may select; all of them without paths."""
    paths = [Path(each.partition("::")[0]).absolute() for each in arguments if not each.startswith("-")]
    paths = [path for path in paths if path.exists()]
    return set[str]().union(*map(parts_of, paths)) if paths else set(MARKERS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
