"""Real servers for tests that break them: started once per session, and separate from those of other tests."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.system.embedded import EmbeddedServer
from bench.system.servers import SERVERS
from bench.system.stores import Store, open_store
from tests.conftest import _forget


class BreakableServers:
    """Starts each kind of server ("redis", "postgres") on first use, and starts it again if a test left it stopped."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._stores: dict[str, Store] = {}
        self._embedded: dict[str, EmbeddedServer] = {}

    def configured(self, kind: str) -> EmbeddedServer:
        """The server that STORES or its URL variable selects.

        A container or an external server has no command: its connections can be broken, its process cannot.
        """
        if kind not in self._stores:
            self._stores[kind] = store = self._stack.enter_context(open_store(kind))
            self._stack.callback(_forget, store)
        store = self._stores[kind]
        if store.server is not None:
            return self._running(store.server)
        return EmbeddedServer(kind, store.url, command=(), log=Path(os.devnull), ready=lambda: None)

    def embedded(self, kind: str) -> EmbeddedServer:
        """A server started by these tests, whatever STORES selects."""
        if (server := self.configured(kind)).command:
            return server
        if kind not in self._embedded:
            self._embedded[kind] = self._stack.enter_context(SERVERS[kind]())
        return self._running(self._embedded[kind])

    def _running(self, server: EmbeddedServer) -> EmbeddedServer:
        if server.process.poll() is not None:
            server.start()
        return server


@contextmanager
def breakable_servers() -> Iterator[BreakableServers]:
    with ExitStack() as stack:
        yield BreakableServers(stack)
