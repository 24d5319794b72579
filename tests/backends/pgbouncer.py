"""A PgBouncer in front of a PostgreSQL."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from bench.system.embedded import EmbeddedServer, free_port, temporary_folder, unprivileged

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed: apt-get install pgbouncer")


@contextmanager
def pgbouncer(server_url: str, mode: str, *, sessions: int = 4) -> Iterator[EmbeddedServer]:
    """Start one with this `pool_mode` and number of sessions at the server; it accepts any password."""
    assert PROGRAM is not None
    address, port, run_as = urlsplit(server_url), free_port(), unprivileged()
    with temporary_folder("pgbouncer") as folder:
        run_as.chown(folder)
        file = folder / "pgbouncer.ini"
        login = f"user={address.username} password={address.password}"
        file.write_text(
            f"[databases]\n* = host={address.hostname} port={address.port} {login}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = {mode}\ndefault_pool_size = {sessions}\nserver_login_retry = 0.1\n"
        )
        url = f"postgres://{address.username}@127.0.0.1:{port}/postgres"
        pooler = EmbeddedServer(
            name="pgbouncer",
            url=url,
            command=[*run_as.prefix, PROGRAM, str(file)],
            log=folder / "log",
            ready=lambda: socket.create_connection(("127.0.0.1", port), timeout=1.0).close(),
            popen=run_as.popen_arguments(),
        )
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.stop()
