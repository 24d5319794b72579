"""asyncpg's errors: which ones are refusals, and the advice in their messages."""

from __future__ import annotations

import asyncpg
from asyncpg.exceptions import ClientConfigurationError, TargetServerAttributeNotMatched

from backends.errors import StoreRefusedError, StoreUnavailableError
from backends.postgres import sql

RETRIED = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError)
LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
URL_ERRORS = (
    ClientConfigurationError,
    asyncpg.UndefinedObjectError,  # an unknown server setting
    asyncpg.InvalidParameterValueError,
    asyncpg.CantChangeRuntimeParamError,
    asyncpg.ProtocolViolationError,  # PgBouncer's "unsupported startup parameter"
    ValueError,
)
"""Raised while connecting, because of a parameter in the URL; see `is_url_error`."""
_READ_ONLY = (TargetServerAttributeNotMatched, asyncpg.ReadOnlySQLTransactionError)
_STATEMENT_ERRORS = ("08", "22", "23", "40", "54", "42P01", "3F000", "55P03", "57014")
"""SQLSTATEs and classes: one lost connection, values, conflicts, limits, a missing table (re-created), time-outs."""


def unavailable(error: Exception, address: str, schema: str) -> StoreUnavailableError:
    """Translate the driver's error: one line with the server's message and advice."""
    if isinstance(error, _READ_ONLY) or "during recovery" in str(error):
        reason = "the server takes no writes (a standby, or default_transaction_read_only is on)"
    else:
        reason = " ".join(str(error).split()) or type(error).__name__
    advice = ""
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        grants = "; ".join(sql.GRANTS).format(schema=schema)
        advice = f"; the role needs: {grants}; or, to create schema and table itself: {sql.GRANT_CREATE}"
    elif isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        advice = "; correct the user name and the password in the backend URL, special characters percent-encoded"
    answered = isinstance(error, (asyncpg.PostgresError, TargetServerAttributeNotMatched))
    refused = answered and not isinstance(error, asyncpg.PostgresConnectionError)
    return (StoreRefusedError if refused else StoreUnavailableError)(f"PostgreSQL at {address}: {reason}{advice}")


def is_url_error(error: Exception) -> bool:
    """Whether one of URL_ERRORS is about the URL: PgBouncer reports also a server's refusals as protocol violations."""
    return not isinstance(error, asyncpg.ProtocolViolationError) or "startup parameter" in str(error)


def is_refusal(error: asyncpg.PostgresError) -> bool:
    """Whether the error concerns the server, so that another server behind the same address may take the statement.

    25006 read-only, 42501 missing rights, 53xxx out of resources, 57P0x shutting down, 0A000 from a standby and so on:
    every error that is not about one statement.
    """
    return not (error.sqlstate or "").startswith(_STATEMENT_ERRORS)
