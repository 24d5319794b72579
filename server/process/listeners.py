"""The sockets that the workers listen on."""

from __future__ import annotations

import socket
import sys


def open_listeners(host: str, port: int, workers: int) -> list[socket.socket]:
    """Bind one socket, or on Linux one per worker; a port of 0 takes any free port. Raises OSError.

    With a shared socket, an idle kernel gives nearly all connections to one worker.
    """
    if sys.platform != "linux" or workers == 1:
        return [_bound(host, port)]
    # SO_REUSEPORT would also share the port with another service of the same user, so bind without it first. A free
    # port is kept until all sockets are bound to its number: a socket without one gets another when it listens again.
    probe = _bound(host, port, shared=not port)
    number = probe.getsockname()[1]
    if port:
        probe.close()
    sockets = [_bound(host, number, shared=True) for _ in range(workers)]
    probe.close()
    return sockets


def _bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.set_inheritable(True)
    return listener
