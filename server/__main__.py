"""`python -m server`: check the settings and the store, then run the workers."""

from __future__ import annotations

import asyncio
import ipaddress
import multiprocessing
import os
import resource
import socket
import sys
import tempfile
from contextlib import suppress
from multiprocessing import forkserver
from typing import Annotated, Any, Never

import typer
import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from pydantic import ValidationError
from typer.exceptions import TyperException
from uvicorn import _subprocess
from uvicorn.supervisors import Multiprocess

from backends import BackendError
from server import descriptors
from server.protocol import BoundedHead
from server.serving import ServingProcess
from server.settings import Settings
from server.strategy import open_delivery, start_error

BAD_USAGE = 4
START_DEADLINE_S = 60
PRELOADED = ("server.upstream", "server.security", "server.protocol", "server.strategy", "prometheus_client", "uvloop")
"""What every worker needs and takes seconds to import. Not `server.metrics`: the values it makes belong to a worker."""
EXAMPLES = """Examples:

  python -m server --backend memory+push:// --workers 1

  OPENAI_API_KEY=... python -m server --backend redis+push://127.0.0.1:6379/0
"""


class Workers(Multiprocess):
    """uvicorn's supervisor, saying when all of its workers serve, and giving each a socket of its own where it can.

    With one socket for all, an idle kernel hands nearly every connection to the same worker. With one socket each
    (SO_REUSEPORT) Linux spreads them evenly. Elsewhere the workers share one.
    """

    def keep_subprocess_alive(self) -> None:
        """Replace dead workers, and take what they counted as live out of the metrics."""
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]

    def init_processes(self) -> None:
        """Start the workers, and announce them when all of them serve."""
        for number in range(self.processes_num):
            process = ServingProcess(self.config, [self.sockets[number % len(self.sockets)]])
            process.start()
            self.processes.append(process)
        # Here and not in a thread beside uvicorn's loop: both would read the answers of the same pipes.
        if all(process.wait_until_ready(START_DEADLINE_S) for process in self.processes):
            host, port = self.sockets[0].getsockname()[:2]
            sys.stdout.write(f"ready http://{f'[{host}]' if ':' in host else host}:{port}\n")
            sys.stdout.flush()


def run(
    host: Annotated[str | None, typer.Option(help="Address to listen on (HOST).", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any free port (PORT).", show_default="8000")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes (WORKERS).", show_default="2")] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Abort strategy and its store (ABORT_BACKEND).", show_default="memory+push://"),
    ] = None,
) -> None:
    """Serve chats that can be stopped. Upstream: OPENAI_BASE_URL and OPENAI_API_KEY."""
    given: dict[str, Any] = {"host": host, "port": port, "workers": workers, "abort_backend": backend}
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        _refuse(f"setting {'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}")
    _check_exposure(settings)
    # The workers are new processes: they read the same settings from their environment, and inherit the limits.
    os.environ.update({name.upper(): str(value) for name, value in given.items() if value is not None})
    _allow_many_files()
    if (warning := descriptors.budget(descriptors.USED_AT_START).warning()) is not None:
        typer.echo(f"server: warning: {warning}", err=True)
    with tempfile.TemporaryDirectory(prefix="stopwatch-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # before a worker imports prometheus-client
        _import_once()
        try:
            asyncio.run(_reach(settings))
            sockets = _bind(settings)
        except BackendError as error:
            _refuse(start_error(error))
        except OSError as error:
            reason = error.strerror or error
            _refuse(f"cannot listen on {settings.host}:{settings.port}: {reason}; choose another --port")
        _serve(settings, sockets)


def _serve(settings: Settings, sockets: list[socket.socket]) -> None:
    config = uvicorn.Config(
        "server.app:create_app",
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http=BoundedHead,
        log_level="warning",
        access_log=False,
        # uvicorn's own patience is the longer one: by then every chat has been aborted in order.
        timeout_graceful_shutdown=int(settings.drain_s) + 3,
    )
    Workers(config, sockets).run()


def _import_once() -> None:
    """Have the workers forked from one process that has imported everything: the others would take as long again.

    It imports while we look for the store. Elsewhere than on Linux every worker imports for itself, as uvicorn has it:
    on macOS the system's own frameworks do not outlive a fork.
    """
    if sys.platform == "linux":
        forking = multiprocessing.get_context("forkserver")
        forking.set_forkserver_preload(list(PRELOADED))
        forkserver.ensure_running()
        _subprocess.spawn = forking  # type: ignore[assignment]  # uvicorn has no setting for it


def _allow_many_files() -> None:
    """Each stream holds two sockets, and many systems allow 1,024 unless one asks for more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS calls its limit infinite and then refuses it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _check_exposure(settings: Settings) -> None:
    """Without API keys anybody who reaches the service spends on the upstream key."""
    loopback = settings.host == "localhost" or _is_loopback(settings.host)
    if not loopback and not settings.keys and not settings.open_to_network:
        _refuse(
            f"--host {settings.host} is open to the network and there are no API_KEYS: set API_KEYS, "
            "or say OPEN_TO_NETWORK=true if anybody who can reach it may chat"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _reach(settings: Settings) -> None:
    """Fail here, in one line, rather than in every worker."""
    async with open_delivery(settings):
        pass


def _bind(settings: Settings) -> list[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    spread = sys.platform == "linux" and settings.workers > 1
    sockets: list[socket.socket] = []
    for _ in range(settings.workers if spread else 1):
        port = sockets[0].getsockname()[1] if sockets else settings.port
        if spread and not sockets and port:
            # SO_REUSEPORT would also share the port with a stranger's process of ours: look first.
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((settings.host, port))
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if spread:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((settings.host, port))
        listener.set_inheritable(True)
        sockets.append(listener)
    return sockets


def _refused(message: str) -> int:
    typer.echo(f"server: {message}", err=True)
    return BAD_USAGE


def _refuse(message: str) -> Never:
    raise typer.Exit(_refused(message))


def main() -> None:
    """The console entry point; bad usage ends with exit code 4."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(epilog=EXAMPLES)(run)
    try:
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        sys.exit(_refused(error.format_message()))


if __name__ == "__main__":
    main()
