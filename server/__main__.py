"""`python -m server`: check the settings and the store, then run the workers."""

from __future__ import annotations

from server.process.stop_signals import METRICS_FOLDER, TEMPORARY, exit_at_once, handle_stop_signals

if __name__ == "__main__":
    handle_stop_signals(exit_at_once)  # before the imports, which take most of a start

import asyncio
import os
import resource
import sys
from contextlib import ExitStack, suppress
from typing import Annotated, Any, Never

import typer
import uvicorn
from pydantic import ValidationError
from typer.exceptions import TyperException

from backends import BackendError
from server.http.protocol import BoundedHttpProtocol
from server.ops.logs import start_logging
from server.process import descriptors
from server.process.fork_server import start_fork_server
from server.process.listeners import open_listeners
from server.process.metrics_folder import metrics_folder
from server.settings import DEFAULT_WORKERS, SettingError, Settings
from server.strategy import open_delivery, startup_error

BAD_USAGE = 4
EXAMPLES = """Examples:

  python -m server --backend memory+push://

  OPENAI_API_KEY=... python -m server --backend redis+push://127.0.0.1:6379/0

  OPENAI_API_KEY=... python -m server --backend redis+cluster+push://h1:6379,h2:6379,h3:6379
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
    options: dict[str, Any] = {"host": host, "port": port, "workers": workers, "abort_backend": backend}
    try:
        settings = Settings(**{name: value for name, value in options.items() if value is not None})
        settings.check_exposure()
        settings.check_memory()
    except ValidationError as error:
        first = error.errors()[0]
        _fail(f"setting {'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}")
    except SettingError as error:
        _fail(str(error))
    # The workers are new processes: they read the same settings from the environment, and inherit the limits.
    os.environ.update({name.upper(): str(value) for name, value in options.items() if value is not None})
    _raise_open_files_limit()
    if (warning := descriptors.budget(descriptors.USED_AT_START).warning()) is not None:
        typer.echo(f"server: warning: {warning}", err=True)
    with ExitStack() as stack:
        try:
            # Before anything imports prometheus-client.
            os.environ[METRICS_FOLDER] = folder = stack.enter_context(metrics_folder())
            TEMPORARY.append(folder)
        except OSError as error:
            _fail(f"cannot create a temporary folder: {error.strerror}; set TMPDIR to a writable one")
        code = _serve(settings)
    raise typer.Exit(code)


def _serve(settings: Settings) -> int:
    start_fork_server()
    try:
        asyncio.run(_check_store(settings))
        sockets = open_listeners(settings.host, settings.port, settings.worker_count)
    except BackendError as error:
        _fail(startup_error(error))
    except OSError as error:
        reason = error.strerror or error
        _fail(f"cannot listen on {settings.host}:{settings.port}: {reason}; choose another --port")
    from server.process.supervisor import Supervisor  # noqa: PLC0415 - it imports prometheus-client

    config = uvicorn.Config(
        "server.app:create_app",
        factory=True,
        workers=settings.worker_count,
        loop="uvloop",
        http=BoundedHttpProtocol,
        log_level="warning",
        access_log=False,
        # Longer than our own drain: by then every chat has ended.
        timeout_graceful_shutdown=int(settings.drain_s) + 3,
    )
    start_logging(settings.log_level)
    return Supervisor(config, sockets, drain_s=settings.drain_s).run()


def _raise_open_files_limit() -> None:
    """Raise the soft limit to the hard one: a stream needs two sockets, and many systems start with 1,024 files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS reports an infinite limit and then rejects it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _check_store(settings: Settings) -> None:
    """Open the store once, so that a failure is one line here and not one from every worker."""
    async with open_delivery(settings):
        pass


def _print_error(message: str) -> int:
    typer.echo(f"server: {message}", err=True)
    return BAD_USAGE


def _fail(message: str) -> Never:
    raise typer.Exit(_print_error(message))


def main() -> None:
    """Run as the console entry point; bad usage ends with exit code 4."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(epilog=EXAMPLES)(run)
    try:
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        sys.exit(_print_error(error.format_message()))


if __name__ == "__main__":
    main()
