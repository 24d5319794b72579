"""asyncpg's errors: which of them mean "not the place to write", and what an operator should do about them."""

from __future__ import annotations

import asyncpg
from asyncpg.exceptions import ClientConfigurationError, TargetServerAttributeNotMatched

from backends import postgres_sql as sql
from backends.base import StoreRefusedError, StoreUnavailableError

RETRIED = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError)
LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
URL_ERRORS = (
    ClientConfigurationError,
    asyncpg.UndefinedObjectError,  # a setting that the server does not know
    asyncpg.InvalidParameterValueError,
    asyncpg.CantChangeRuntimeParamError,
    asyncpg.ProtocolViolationError,  # PgBouncer's "unsupported startup parameter"
    ValueError,
)
"""Raised on connecting because of a parameter in the URL."""
_OF_THE_STATEMENT = ("08", "22", "23", "40", "54", "42P01", "3F000", "55P03", "57014")
"""SQLSTATEs and classes: one lost connection, values, conflicts, limits, a missing table (made anew), time-outs."""


def unavailable(error: Exception, where: str, schema: str) -> StoreUnavailableError:
    """The driver's error as one of ours: one line with the server's own words, and what to do."""
    if isinstance(error, TargetServerAttributeNotMatched):
        words = "the server takes no writes (a standby, or default_transaction_read_only is on)"
    else:
        words = " ".join(str(error).split()) or type(error).__name__
    advice = ""
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        grants = "; ".join(sql.GRANTS).format(schema=schema)
        advice = f"; the role needs: {grants}; or, to make schema and table itself: {sql.GRANT_CREATE}"
    elif isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        advice = "; correct the user name and the password in the backend URL, special characters percent-encoded"
    answered = isinstance(error, (asyncpg.PostgresError, TargetServerAttributeNotMatched))
    refused = answered and not isinstance(error, asyncpg.PostgresConnectionError)
    return (StoreRefusedError if refused else StoreUnavailableError)(f"PostgreSQL at {where}: {words}{advice}")


def is_refusal(error: asyncpg.PostgresError) -> bool:
    """Whether another server behind the same address might answer better.

    25006 read-only, 42501 no rights, 53xxx out of resources, 57P0x shutting down, 0A000 from a standby and the like:
    all but the few errors that are about one statement.
    """
    return not (error.sqlstate or "").startswith(_OF_THE_STATEMENT)
