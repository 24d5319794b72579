"""Run the tests: the pure ones on all cores, then those that wait for events, then the others one at a time.

A failed test that is not pure runs once more, alone and at once: other processes of the machine may have taken the time
that it waits for or measures. Its first failure stays in the output. A test that fails again, fails.

`python -m tests [PYTEST ARGUMENTS]` exits as pytest does. `python -m pytest` runs all of them one at a time.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.parallel import EXPRESSIONS, TESTS, parts_of

BY_FILE = ("--dist", "loadfile")
IN_ORDER = "--no-loadscope-reorder"  # else the files with the fewest tests come last, most of which are long
OPTIONS: dict[str | None, tuple[str, ...]] = {
    "pure": ("-n", "logical", "--maxprocesses", "4", *BY_FILE),
    "waiting": ("-n", "3", *BY_FILE, IN_ORDER),  # two used 53 % of two cores; four timed each other out
    None: (),
}
FAILED_BEFORE = ("--last-failed", "--last-failed-no-failures", "none")
ONE_SESSION = {"-m", "-s", "--pdb", "--collect-only", "--co"}
"""Options that select tests by marker, or need the terminal."""
FINISHED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)


def main(arguments: Sequence[str]) -> int:
    """Return pytest's exit code; no further part runs after an interrupt or a usage error."""
    selected = _parts(arguments)
    if ONE_SESSION & set(arguments) or selected == {None}:
        return pytest.main([*arguments])
    codes: list[int] = []
    for name, options in OPTIONS.items():
        if name not in selected:
            continue
        codes.append(pytest.main(["-m", EXPRESSIONS[name], *options, *arguments]))
        if codes[-1] == pytest.ExitCode.TESTS_FAILED and name != "pure":
            sys.stderr.write("tests: the failed tests of this part run once more, alone\n")
            again = pytest.main(["-m", EXPRESSIONS[name], *FAILED_BEFORE, *arguments])
            codes[-1] = pytest.ExitCode.TESTS_FAILED if again == pytest.ExitCode.NO_TESTS_COLLECTED else again
        if codes[-1] not in FINISHED:
            return codes[-1]
    if pytest.ExitCode.TESTS_FAILED in codes:
        if codes[-1] != pytest.ExitCode.TESTS_FAILED:
            sys.stderr.write("tests: tests failed; they are listed in an earlier one of the summaries above\n")
        return pytest.ExitCode.TESTS_FAILED
    return min(codes)


def _parts(arguments: Sequence[str]) -> set[str | None]:
    """The parts that have tests below the paths among the arguments; all of them without paths."""
    paths = [Path(each.partition("::")[0]).absolute() for each in arguments if not each.startswith("-")]
    paths = [path for path in paths if path.exists()]
    return set[str | None]().union(*map(parts_of, paths or [TESTS]))


if __name__ == "__main__":
    # Hundreds of processes start here, and each would compile all of its modules again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    sys.exit(main(sys.argv[1:]))
