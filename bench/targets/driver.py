"""What a target file may name as `driver = "package.module:Class"`, for chats that are not plain HTTP."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol


class Driver(Protocol):
    """One chat. It runs in the load process under gevent: blocking sockets of the standard library are fine.

    Made as `Class(url, values)`: the URL of the service, and the variables that templates have.
    """

    def prepare(self) -> None:
        """Connect and sign in; this is not measured."""

    def start(self, text: str) -> None:
        """Send the message; return when it has left."""

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Each event as a document, for the expressions of [stream]; ends when the answer does."""

    def stop(self) -> None:
        """Stop the answer (stops of kind driver)."""

    def hang_up(self) -> None:
        """Close the connection without a stop (stops of kind hangup)."""

    def close(self) -> None:
        """Free what is held; called once, also after a failure."""
