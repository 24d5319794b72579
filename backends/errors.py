"""The errors that backends raise."""

from __future__ import annotations


class BackendError(Exception):
    """Base class of all errors of this package.

    BackendError
    ├── DuplicateChatError     a live chat already has this request id
    ├── StoreUnavailableError  the store did not answer, or the connection was lost; a retry may succeed
    │   ├── StoreRefusedError  the store answered with an error: missing rights, read-only, out of memory
    │   └── DeafListenerError  the listener is connected but receives no messages
    └── BackendUrlError        the backend URL names no strategy or cannot be parsed
    """


class DuplicateChatError(BackendError):
    """A live chat already has this request id."""


class StoreUnavailableError(BackendError):
    """The store did not answer, or the connection to it was lost. Replaces the driver's own errors."""


class StoreRefusedError(StoreUnavailableError):
    """The store answered with an error: missing rights, read-only, out of memory. The message quotes the server."""


class DeafListenerError(StoreUnavailableError):
    """The listener is connected and subscribed, but the worker's own heartbeat was not received through it."""


class BackendUrlError(BackendError, ValueError):
    """The backend URL names no strategy or cannot be parsed. The message contains no part of a secret."""
