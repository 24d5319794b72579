"""Connect to the first host of the URL that takes writes, also if one before it is frozen."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from asyncpg.exceptions import CannotConnectNowError, TargetServerAttributeNotMatched

from backends.postgres.url import Address

_NEXT = (OSError, asyncpg.PostgresConnectionError, CannotConnectNowError, TargetServerAttributeNotMatched)


async def connect(address: Address, **options: Any) -> asyncpg.Connection:
    """Connect; `options` are those of `asyncpg.connect` without the address. Raises what it raises.

    asyncpg's limit is for all hosts together: it never reaches those after a host that does not answer.
    """
    limit_s = address.host_timeout_s
    async with asyncio.timeout(address.timeout_s):
        while True:
            errors: list[Exception] = []
            for number, dsn in enumerate(address.dsns, 1):
                try:
                    async with asyncio.timeout(limit_s if number < len(address.dsns) else None):
                        return await asyncpg.connect(dsn, **options)
                except _NEXT as error:
                    errors.append(error)
            if not any(isinstance(error, TimeoutError) for error in errors):
                # A host that cannot be reached may take writes again; one that is a standby was reached.
                raise next((error for error in errors if isinstance(error, OSError)), errors[-1])
            limit_s *= 2  # it may be slow rather than frozen
