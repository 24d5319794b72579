"""Run the tests: those that wait for events and, beside them, the pure ones; then the others one at a time.

The pure tests run at the lowest priority, so they use the CPU time that the waiting tests leave. Their output is
printed when they have ended. A failed test of any part runs once more, alone: other processes may have taken the time
that it needs. Its first failure stays in the output. A test that fails again, fails.

`python -m tests [PYTEST ARGUMENTS]` exits as pytest does. `python -m pytest` runs all of them one at a time.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.parallel import EXPRESSIONS, TESTS, parts_of

BY_FILE = ("--dist", "loadfile")
IN_ORDER = "--no-loadscope-reorder"  # else the files with the fewest tests come last, most of which are long
OPTIONS: dict[str | None, tuple[str, ...]] = {
    "waiting": ("-n", "4", *BY_FILE, IN_ORDER),
    "pure": ("-n", "logical", "--maxprocesses", "4", *BY_FILE),
    None: (),
}
"""In the order of their results."""
BESIDE_TIMEOUT_S = 480
"""For a test at the lowest priority; the time includes its fixtures, one of which draws all charts."""
CACHE = {"pure": ("-o", "cache_dir=.pytest_cache/pure")}
"""Sessions at the same time would overwrite each other's list of failed tests."""
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
    with ExitStack() as stack:
        runs: dict[str | None, Callable[[], int]] = {
            name: partial(pytest.main, _session(name, *options, *arguments)) for name, options in OPTIONS.items()
        }
        if beside := selected >= {"pure", "waiting"}:
            runs["pure"] = stack.enter_context(least_priority(_session("pure", *OPTIONS["pure"], *arguments)))
        for name, run in runs.items():
            if name not in selected:
                continue
            codes.append(run())
            if codes[-1] == pytest.ExitCode.TESTS_FAILED and (name != "pure" or beside):
                sys.stderr.write("tests: the failed tests of this part run once more, alone\n")
                again = pytest.main(_session(name, *FAILED_BEFORE, *arguments))
                codes[-1] = pytest.ExitCode.TESTS_FAILED if again == pytest.ExitCode.NO_TESTS_COLLECTED else again
            if codes[-1] not in FINISHED:
                return codes[-1]
    if pytest.ExitCode.TESTS_FAILED in codes:
        if codes[-1] != pytest.ExitCode.TESTS_FAILED:
            sys.stderr.write("tests: tests failed; they are listed in an earlier one of the summaries above\n")
        return pytest.ExitCode.TESTS_FAILED
    return min(codes)


def _session(name: str | None, *options: str) -> list[str]:
    """The arguments of a session of this part's tests."""
    return ["-m", EXPRESSIONS[name], *CACHE.get(name or "", ()), *options]


@contextmanager
def least_priority(arguments: Sequence[str]) -> Iterator[Callable[[], int]]:
    """A session beside ours, within the block; a call waits for its end, prints its output, and returns its code."""
    with tempfile.TemporaryFile() as output:
        command = ["nice", "-n", "19", sys.executable, "-m", "pytest", "--timeout", str(BESIDE_TIMEOUT_S), *arguments]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

        def finish() -> int:
            code = process.wait()
            output.seek(0)
            sys.stdout.write(output.read().decode(errors="replace"))
            return code

        try:
            yield finish
        finally:
            process.terminate()  # a background job of a shell ignores SIGINT; the workers end with it
            process.wait()


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
