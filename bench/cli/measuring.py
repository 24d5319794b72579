"""What every command that measures has in common: it runs alone, and a disk that fills up ends it with one line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, ParamSpec

from bench.cli.codes import BAD_USAGE, INVALID, end
from bench.system.environment import without_libpq
from bench.system.lock import BusyError, only_bench

P = ParamSpec("P")
GiveUp = Callable[[int, str], NoReturn]


def measuring(command: Callable[P, None], *, give_up: GiveUp = end) -> Callable[P, None]:
    """Run the command while no other one measures on this machine; `give_up` gets an exit code and the reason.

    Exit code 4 while another bench runs, 2 when the disk is full or read-only.
    """

    @functools.wraps(command)
    def alone(*args: P.args, **options: P.kwargs) -> None:
        from bench.system.storage import StorageError, writing  # noqa: PLC0415 - `--help` and usage errors need none of this

        results = options.get("results")
        try:
            with only_bench(), without_libpq(), writing(results if isinstance(results, Path) else Path()):
                command(*args, **options)
        except BusyError as error:
            give_up(BAD_USAGE, str(error))
        except StorageError as error:
            give_up(INVALID, f"could not measure: {error}")

    return alone
