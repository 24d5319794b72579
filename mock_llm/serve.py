"""Listens, says so on stdout, and leaves cleanly on SIGTERM or SIGINT."""

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
    """The server could not start; the message is one line with the cause and the next step."""


def allow_many_sockets() -> None:
    """Raise the limit of open files as far as we may: many systems start with 1,024, fewer than our streams."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS calls its limit infinite and then refuses it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return uvloop's loop where it is installed, else asyncio's."""
    try:
        import uvloop  # noqa: PLC0415 -- it has no Windows build; asyncio's own loop does the same, slower
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError when the address cannot be had."""
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
    gc.freeze()  # looking through all that was imported takes 15 ms, in which no token and no stamp is on time
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    sys.stdout.write(f"ready http://{host}:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()
    for connection in list(connections):
        connection.abort()
    await asyncio.sleep(0)  # lets the transports close, so that nothing is left open when the loop ends
