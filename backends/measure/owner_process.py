"""The stopper's end of the owner's process: start it, tell it what to do, end it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from backends.base import Options, StoreUnavailableError

LINE_LIMIT = 2**24  # a thousand stamps are one line


class OwnerProcess:
    """Its commands, see `backends.measure.owner`. Raises StoreUnavailableError with what it said of its store."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None  # noqa: S101 - asked for below
        assert process.stdout is not None  # noqa: S101 - asked for below
        self._stdin, self._stdout = process.stdin, process.stdout

    async def tell(self, **command: object) -> None:
        """Return when the owner has done it."""
        self._stdin.write(json.dumps(command).encode() + b"\n")
        await self.answer()

    async def expect(self, names: Sequence[str]) -> None:
        """`answer` will give when the owner heard of each of these: {name: ns}, without those that never came."""
        await self.tell(expect=list(names))

    async def answer(self) -> dict[str, Any]:
        """The next line it says."""
        line = await self._stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the owner's process died"}
        if "error" in answer:
            raise StoreUnavailableError(answer["error"])
        return answer


@asynccontextmanager
async def owner_process(url: str, options: Options) -> AsyncIterator[OwnerProcess]:
    """A second process with one listening worker; it ends with the block, and also when this process dies."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backends.measure", "owner", "--namespace", options.namespace),
        env={**os.environ, "ABORT_BACKEND": url},  # not an argument: it may hold a password
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_LIMIT,
    )
    try:
        owner = OwnerProcess(process)
        await owner.answer()
        yield owner
    finally:
        assert process.stdin is not None  # noqa: S101 - asked for above
        process.stdin.close()
        await process.wait()
