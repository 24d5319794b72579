"""`python -m bench serve`: store, mock upstream and service in one command, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO

from rich.console import Console

from bench.system.embedded import temporary_folder
from bench.system.procs import Child
from bench.system.stores import Store, open_store
from bench.workload.plan import STRATEGIES, delivery_of, store_of
from bench.workload.scenario import PlanError

HOST = "127.0.0.1"
STORES = ("memory", "postgres", "redis")
CHOICES = (*STORES, *(name for name in STRATEGIES if name != "disconnect"), "all")
DEFAULT = "redis-push"
OPENAI_URL = "https://api.openai.com/v1"
LOOK_S = 0.2
SLOW_ANSWERS = ("--ttft-ms", "300", "--itl-ms", "50", "--output-tokens", "600")
"""Half a minute: long enough to read it, and to paste the line that stops it."""
SLOW_NOTE = "a mock (random words, 600 tokens, one every 50 ms)"


class PortError(Exception):
    """The port is taken or may not be had; the message is one line: cause and next step."""


def strategy_of(backend: str) -> str:
    """`redis` means `redis-push`, and `all` too; a whole strategy means itself. Raises PlanError naming the choices."""
    if backend not in CHOICES:
        raise PlanError(f"BACKEND {backend!r} is unknown: choose from {', '.join(CHOICES)}")
    if backend == "all":
        return DEFAULT
    return f"{backend}-push" if backend in STORES else backend


@contextlib.contextmanager
def opened(strategy: str) -> Iterator[tuple[str, Store | None]]:
    """The strategy's backend URL, its store running: ours, or the one that REDIS_URL / DATABASE_URL names."""
    kind, delivery = store_of(strategy), delivery_of(strategy)
    if delivery is None:
        yield "none://", None
    elif kind in ("redis", "postgres"):
        with open_store(str(kind)) as store:
            yield store.strategy_url(delivery), store
    else:
        yield f"{kind}+{delivery}://", None


def serve(console: Console, *, backend: str, port: int, workers: int | None) -> None:
    """Run until interrupted. Raises PlanError, PortError, StoreError, or ChildError when a part of it dies."""
    strategy = strategy_of(backend)
    in_memory = store_of(strategy) == "memory"
    if port:
        _check_free(port)
    if in_memory:
        console.print("note: the memory store is one worker's own; a second worker could not stop its chats")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("serve"))
        url, store = stack.enter_context(opened(strategy))
        if store is not None:
            console.print(f"store: {store.name} {store.version} ({store.how})", highlight=False)
        env = {"ABORT_BACKEND": url, "WORKERS": str(workers or (1 if in_memory else 2))}
        env |= {"MEMORY_WITH_WORKERS": "true"}  # whoever asks for several is told what that means
        env |= {"DRAIN_S": os.environ.get("DRAIN_S", "1"), "PYTHONUNBUFFERED": "1"}
        env = {**os.environ, **env}  # to try is not to measure: the user's own settings apply
        children = []
        # Set to nothing is not set: that is how a shell, a .env file or a CI secret says that there is none.
        if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
            env["OPENAI_BASE_URL"] = os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
            console.print(f"upstream: {env['OPENAI_BASE_URL']}", highlight=False, soft_wrap=True)
        else:
            arguments = ["mock_llm", "serve", "--port", "0", *SLOW_ANSWERS]
            mock = Child("mock_llm", arguments, folder / "mock_llm.log", env=os.environ)
            children.append(stack.enter_context(mock))
            env |= {"OPENAI_BASE_URL": f"{mock.url}/v1", "OPENAI_API_KEY": "unused", "UPSTREAM_NOTE": SLOW_NOTE}
            console.print("upstream: our mock (set OPENAI_API_KEY or OPENAI_BASE_URL for a real one)", highlight=False)
        log = folder / "server.log"
        log.touch()
        written = stack.enter_context(log.open("rb"))
        stack.callback(_copy, written)  # its last words, when it has ended
        service = Child("server", ["server", "--host", HOST, "--port", str(port)], log, env=env)
        children.append(stack.enter_context(service))
        for line in greeting(service.url, strategy, env["WORKERS"]):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
        _show_stdout(service)
        while True:
            _copy(written)
            for child in children:
                child.check()
            time.sleep(LOOK_S)


def greeting(url: str, strategy: str, workers: str) -> list[str]:
    """What to open, and two lines to paste: start a chat, and stop it."""
    message = '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Tell me a long story"}]'
    header = "-H 'Content-Type: application/json'"
    keys = " -H 'Authorization: Bearer YOUR_KEY'" if os.environ.get("API_KEYS") else ""
    return [
        "",
        f"The page to try it: {url}/",
        f"({strategy}, {workers} worker{'' if workers == '1' else 's'}; Ctrl-C ends it all)",
        "",
        "Start a chat, and stop it from another terminal:",
        "",
        f'curl -N {url}/chat/ {header}{keys} -d \'{message}, "request_id": "demo"}}\'',
        "",
        f'curl {url}/abort/ {header}{keys} -d \'{{"request_id": "demo", "wait_ms": 1000}}\'',
        "",
    ]


def _check_free(port: int) -> None:
    """Several workers share a port, so the service's own bind would also succeed beside a service that runs already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortError(
                f"port {port}: {error.strerror or error}; choose another: make serve PORT=8001, or --port; 0 takes any"
            ) from error


def _show_stdout(service: Child) -> None:
    """Read on what the service says after `ready`: a pipe that nobody reads would block it one day."""
    stdout = service.process.stdout
    assert stdout is not None  # noqa: S101 - Child asked for it
    threading.Thread(target=_copy, args=(stdout,), daemon=True).start()


def _copy(source: IO[bytes]) -> None:
    for line in source:
        sys.stderr.write(line.decode(errors="replace"))
        sys.stderr.flush()
