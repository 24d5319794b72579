"""Run the server: listen, print the address, shut down on SIGTERM or SIGINT."""

import asyncio
import gc
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from mock_llm.app import App
from mock_llm.protocol import Connection
from mock_llm.settings import Settings


class StartError(Exception):
    """The server cannot start; the message is one line with the cause and what to do."""


def allow_many_sockets() -> None:
    """Raise the limit of open files to the maximum: the usual default is 1,024, too few for many streams."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS reports an unlimited maximum and then rejects it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the constructor of uvloop's event loop if it is installed, else asyncio's."""
    try:
        import uvloop  # noqa: PLC0415 -- optional: it has no Windows build
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError if the address is not available."""
    allow_many_sockets()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    app = App(settings, loop)
    connections: set[Connection] = set()
    try:
        server = await loop.create_server(
            lambda: Connection(app, connections, settings.max_body_bytes), settings.host, settings.port, backlog=4096
        )
    except OSError as error:
        reason = error.strerror or error
        where = f"{settings.host}:{settings.port}"
        raise StartError(f"cannot listen on {where}: {reason}; choose another --port (0: any free one)") from None
    gc.collect()
    gc.freeze()  # a collection over all imported modules takes 15 ms and would delay tokens and timestamps
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    sys.stdout.write(f"ready http://{host}:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()
    for connection in list(connections):
        connection.abort()
    await asyncio.sleep(0)  # lets the transports close before the loop ends
