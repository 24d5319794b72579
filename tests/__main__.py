"""Run the tests: the pure ones on all cores, then the others one at a time, because they measure times.

`python -m tests [PYTEST ARGUMENTS]` exits as pytest does. `python -m pytest` runs all of them one at a time.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.pure import may_hold_pure

PARALLEL = ("-m", "pure", "-n", "logical", "--maxprocesses", "4", "--dist", "loadfile")
SERIAL = ("-m", "not pure")
ONE_SESSION = {"-m", "-s", "--pdb", "--collect-only", "--co"}
"""Options that select tests by marker, or need the terminal."""
FINISHED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)


def main(arguments: Sequence[str]) -> int:
    """Return pytest's exit code; the second part does not run after an interrupt or a usage error of the first."""
    if ONE_SESSION & set(arguments) or not _may_select_pure(arguments):
        return pytest.main([*arguments])
    codes = []
    for part in (PARALLEL, SERIAL):
        codes.append(pytest.main([*part, *arguments]))
        if codes[-1] not in FINISHED:
            return codes[-1]
    if pytest.ExitCode.TESTS_FAILED in codes:
        if codes[-1] != pytest.ExitCode.TESTS_FAILED:
            sys.stderr.write("tests: pure tests failed; they are listed in the first of the two summaries above\n")
        return pytest.ExitCode.TESTS_FAILED
    return min(codes)


def _may_select_pure(arguments: Sequence[str]) -> bool:
    """Whether the paths among the arguments, or their absence, select pure tests."""
    paths = [Path(each.partition("::")[0]).absolute() for each in arguments if not each.startswith("-")]
    paths = [path for path in paths if path.exists()]
    return not paths or any(may_hold_pure(path) for path in paths)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
