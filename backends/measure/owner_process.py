"""Start the owner's process, send it commands, and end it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from backends.base import Options
from backends.errors import StoreUnavailableError

LINE_LIMIT = 2**24  # bytes; a thousand timestamps are one line


class OwnerProcess:
    """Sends commands, see `backends.measure.owner`. Raises StoreUnavailableError for errors of the owner's store."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None  # noqa: S101 - asked for below
        assert process.stdout is not None  # noqa: S101 - asked for below
        self._stdin, self._stdout = process.stdin, process.stdout

    async def send(self, **command: object) -> None:
        """Send one command and wait until the owner has executed it."""
        self._stdin.write(json.dumps(command).encode() + b"\n")
        await self.receive()

    async def expect(self, names: Sequence[str]) -> None:
        """Have the next `receive` return the arrival times of these: {name: ns}, without those that never arrived."""
        await self.send(expect=list(names))

    async def receive(self) -> dict[str, Any]:
        """Return the next line of the owner."""
        line = await self._stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the owner's process has died"}
        if "error" in answer:
            raise StoreUnavailableError(answer["error"])
        return answer


@asynccontextmanager
async def owner_process(url: str, options: Options) -> AsyncIterator[OwnerProcess]:
    """Start a second process with one listening worker; it ends with the block, or when this process dies."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backends.measure", "owner", "--namespace", options.namespace),
        env={**os.environ, "ABORT_BACKEND": url},  # not an argument: it may hold a password
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_LIMIT,
    )
    try:
        owner = OwnerProcess(process)
        await owner.receive()
        yield owner
    finally:
        assert process.stdin is not None  # noqa: S101 - asked for above
        process.stdin.close()
        await process.wait()
