"""`python -m server`: check the settings and the store, then run the workers."""

from __future__ import annotations

from server.process.stopping import METRICS_FOLDER, TEMPORARY, leave_at_once, on_stop

if __name__ == "__main__":
    on_stop(leave_at_once)  # before the imports, which take most of a start

import asyncio
import ipaddress
import multiprocessing
import os
import resource
import signal
import socket
import sys
from contextlib import ExitStack, suppress
from multiprocessing import forkserver, resource_tracker, util
from typing import Annotated, Any, Never

import typer
import uvicorn
from pydantic import ValidationError
from typer.exceptions import TyperException
from uvicorn import _subprocess

from backends import BackendError
from server.http.protocol import BoundedHead
from server.ops.logs import start_logging
from server.process import descriptors
from server.process.metrics_folder import metrics_folder
from server.settings import DEFAULT_WORKERS, Settings
from server.strategy import open_delivery, start_error

BAD_USAGE = 4
PRELOADED = (
    "server.relay.upstream",
    "server.http.security",
    "server.process.supervisor",
    "server.http.protocol",
    "server.strategy",
    "uvloop",
)
"""What every worker needs and takes seconds to import. Not `server.ops.metrics`: its values belong to a worker."""
EXAMPLES = """Examples:

  python -m server --backend memory+push://

  OPENAI_API_KEY=... python -m server --backend redis+push://127.0.0.1:6379/0
"""


def run(
    host: Annotated[str | None, typer.Option(help="Address to listen on (HOST).", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any free port (PORT).", show_default="8000")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes (WORKERS).", show_default=f"{DEFAULT_WORKERS}; memory: 1")
    ] = None,
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
    _check_memory(settings)
    # The workers are new processes: they read the same settings from their environment, and inherit the limits.
    os.environ.update({name.upper(): str(value) for name, value in given.items() if value is not None})
    _allow_many_files()
    if (warning := descriptors.budget(descriptors.USED_AT_START).warning()) is not None:
        typer.echo(f"server: warning: {warning}", err=True)
    with ExitStack() as stack:
        try:
            # Before anything imports prometheus-client.
            os.environ[METRICS_FOLDER] = folder = stack.enter_context(metrics_folder())
            TEMPORARY.append(folder)
        except OSError as error:
            _refuse(f"no folder for temporary files: {error.strerror}; set TMPDIR to one that can be written")
        code = _serve(settings)
    raise typer.Exit(code)


def _serve(settings: Settings) -> int:
    _import_once()
    try:
        asyncio.run(_reach(settings))
        sockets = _bind(settings)
    except BackendError as error:
        _refuse(start_error(error))
    except OSError as error:
        reason = error.strerror or error
        _refuse(f"cannot listen on {settings.host}:{settings.port}: {reason}; choose another --port")
    from server.process.supervisor import Supervisor  # noqa: PLC0415 - it imports prometheus-client

    config = uvicorn.Config(
        "server.app:create_app",
        factory=True,
        workers=settings.worker_count,
        loop="uvloop",
        http=BoundedHead,
        log_level="warning",
        access_log=False,
        # uvicorn's own patience is the longer one: by then every chat has been aborted in order.
        timeout_graceful_shutdown=int(settings.drain_s) + 3,
    )
    start_logging(settings.log_level)
    return Supervisor(config, sockets, drain_s=settings.drain_s).run()


def _import_once() -> None:
    """Have the workers forked from one process that has imported everything: the others would take as long again.

    It imports while we look for the store. Elsewhere than on Linux every worker imports for itself, as uvicorn has it:
    on macOS the system's own frameworks do not outlive a fork.
    """
    if sys.platform == "linux":
        forking = multiprocessing.get_context("forkserver")
        forking.set_forkserver_preload(list(PRELOADED))
        _subprocess.spawn = forking  # type: ignore[assignment]  # uvicorn has no setting for it
        # A signal to the whole group, as systemd and a closed terminal send it, must not end the fork server: through
        # it we know of the workers' ends. It inherits what is blocked here. The tracker comes first, as it unblocks.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGHUP))
        try:
            forkserver.ensure_running()
            TEMPORARY.append(util.get_temp_dir())  # where it listens
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


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


def _check_memory(settings: Settings) -> None:
    """Each worker's memory is its own: a Stop that reaches another worker than its chat is answered 404."""
    workers = settings.worker_count
    if settings.in_memory and workers > 1 and not settings.memory_with_workers:
        _refuse(
            f"a memory strategy with {workers} workers loses about {1 - 1 / workers:.0%} of the Stops, because "
            "they reach another worker than their chat; use --workers 1, or a store that workers share "
            "(redis+push://..., postgres+push://...), or set MEMORY_WITH_WORKERS=true to run it all the same"
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
    """One socket, or on Linux one per worker: with a shared one an idle kernel gives one worker nearly everything."""
    host, port, workers = settings.host, settings.port, settings.worker_count
    if sys.platform != "linux" or workers == 1:
        return [_bound(host, port)]
    # SO_REUSEPORT would also share the port with a stranger's process of ours: look first. A free port is held until
    # ours are bound to it by its number, as a socket without one gets another when it listens again.
    probe = _bound(host, port, shared=not port)
    port = probe.getsockname()[1]
    if settings.port:
        probe.close()
    sockets = [_bound(host, port, shared=True) for _ in range(workers)]
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
