"""Turns the errors of the rooms into one line and an exit code, in the same way for all commands."""

import functools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, ParamSpec

import typer

from bench.cli.terminal import BAD_USAGE, INTERRUPTED, INVALID, end
from bench.record.writer import FolderError, Results
from bench.system.environment import without_libpq
from bench.system.lock import only_bench
from bench.workload.scenario import PlanError

P = ParamSpec("P")
GiveUp = Callable[[int, str], NoReturn]


@contextmanager
def exit_codes(
    give_up: GiveUp = end, prefix: str = "could not measure: ", usage: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Call `give_up` with exit code and message: 4 for bad usage, 2 for a failed measurement, 130 for an interrupt.

    A GateError has its own code; errors of `usage` are bad usage here.
    """
    from bench.gate import GateError
    from bench.system.embedded import StoreError
    from bench.system.git import GitError
    from bench.system.procs import ChildError

    try:
        yield
    except usage as error:
        give_up(BAD_USAGE, str(error))
    except (PlanError, FolderError) as error:
        give_up(BAD_USAGE, str(error))
    except GateError as error:
        give_up(error.code, str(error))
    except (StoreError, ChildError, GitError) as error:
        give_up(INVALID, f"{prefix}{error}")
    except KeyboardInterrupt:
        give_up(INTERRUPTED, "interrupted; everything started has been stopped")


@contextmanager
def writing_to(place: Path, advice: str) -> Iterator[None]:
    """Treat an OSError as bad usage: the message names the place, the cause and what to do."""
    try:
        yield
    except OSError as error:
        end(BAD_USAGE, f"{place} cannot be written ({error.strerror or error}): {advice}")


def measuring(command: Callable[P, None], *, give_up: GiveUp = end) -> Callable[P, None]:
    """A command that measures: alone on this machine, its errors as exit codes; a full disk is a failed measurement."""

    @functools.wraps(command)
    def alone(*args: P.args, **options: P.kwargs) -> None:
        from bench.system.storage import writing

        results = options.get("results")
        folder = results if isinstance(results, Path) else Path()
        with exit_codes(give_up), only_bench(), without_libpq(), writing(folder):
            command(*args, **options)

    return alone


@contextmanager
def keeping(kept: Results) -> Iterator[None]:
    """When the measurement within the block breaks off, print where its cases are, or delete a folder without any."""
    from bench.system.storage import StorageError

    try:
        yield
    except BaseException as error:
        if (kept.folder / "cases.jsonl").exists():
            if not isinstance(error, OSError | StorageError):  # a full disk: the message names the folder
                note = f"bench: finished cases are kept; make report RUN_DIR={kept.folder} shows them"
                typer.echo(note, err=True)
        elif isinstance(error, KeyboardInterrupt) or (kept.logs.is_dir() and not any(kept.logs.iterdir())):
            shutil.rmtree(kept.folder, ignore_errors=True)
        raise
