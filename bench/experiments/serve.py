"""`python -m bench serve`: store, mock upstream and service in one command, until Ctrl-C."""

import contextlib
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import IO

from rich.console import Console

from bench.experiments.frame import start_store
from bench.system.embedded import temporary_folder
from bench.system.environment import URL_VARIABLES
from bench.system.procs import Child
from bench.system.stores import Store
from bench.workload.plan import STRATEGIES, delivery_of, store_of
from bench.workload.scenario import PlanError

HOST = "127.0.0.1"
STORES = ("memory", "postgres", "redis", "nats")
CHOICES = (*STORES, *(name for name in STRATEGIES if name != "disconnect"), "all")
DEFAULT = "redis-push"
GREETING = Path(__file__).parent / "greeting.txt"
OPENAI_URL = "https://api.openai.com/v1"
POLL_S = 0.2
SLOW_ANSWERS = ("--ttft-ms", "300", "--itl-ms", "50", "--output-tokens", "600")
"""Half a minute: long enough to read it, and to paste the line that stops it."""
SLOW_NOTE = "a mock (random words, 600 tokens, one every 50 ms)"


class PortError(PlanError):
    """The port is taken or not permitted; the message is one line: cause and next step."""


def strategy_of(backend: str) -> str:
    """`redis` means `redis-push`, and so does `all`; a strategy means itself. Raises PlanError naming the choices."""
    if backend not in CHOICES:
        raise PlanError(f"BACKEND {backend!r} is unknown: choose from {', '.join(CHOICES)}")
    if backend == "all":
        return DEFAULT
    return f"{backend}-push" if backend in STORES else backend


def opened(stack: contextlib.ExitStack, strategy: str, namespace: str = "") -> tuple[str, Store | None]:
    """The strategy's backend URL, and its store, which runs until `stack` closes.

    A store of the user (REDIS_URL, DATABASE_URL) is then cleared of `namespace`, where one is given.
    """
    kind, delivery = store_of(strategy), delivery_of(strategy)
    if delivery is None:
        return "none://", None
    if kind not in URL_VARIABLES:
        return f"{kind}+{delivery}://", None
    store = start_store(stack, kind, namespace)
    return store.strategy_url(delivery), store


def serve(console: Console, *, backend: str, port: int, workers: int | None) -> None:
    """Run until interrupted. Raises PlanError, PortError, StoreError, or ChildError when a process dies."""
    strategy = strategy_of(backend)
    in_memory = store_of(strategy) == "memory"
    if port:
        check_free(port)
    if in_memory:
        console.print("note: the memory store is local to a worker; a second worker could not stop its chats")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("serve"))
        url, store = opened(stack, strategy)
        if store is not None:
            console.print(f"store: {store.name} {store.version} ({store.how})", highlight=False)
        env = {**os.environ}  # unlike in a measurement, the user's own settings apply
        env |= {"ABORT_BACKEND": url, "WORKERS": str(workers or (1 if in_memory else 2)), "MEMORY_WITH_WORKERS": "true"}
        env |= {"DRAIN_S": os.environ.get("DRAIN_S", "1"), "PYTHONUNBUFFERED": "1"}
        children = []
        # Empty counts as not set: a shell, a .env file or a CI secret without a value gives an empty one.
        if env.get("OPENAI_API_KEY") or env.get("OPENAI_BASE_URL"):
            upstream = env["OPENAI_BASE_URL"] = env.get("OPENAI_BASE_URL") or OPENAI_URL
        else:
            upstream = "our mock (set OPENAI_API_KEY or OPENAI_BASE_URL for a real one)"
            arguments = ["mock_llm", "serve", "--port", "0", *SLOW_ANSWERS]
            children += [stack.enter_context(Child("mock_llm", arguments, folder / "mock_llm.log", env=os.environ))]
            env |= {"OPENAI_BASE_URL": f"{children[0].url}/v1", "OPENAI_API_KEY": "unused", "UPSTREAM_NOTE": SLOW_NOTE}
        console.print(f"upstream: {upstream}", highlight=False, soft_wrap=True)
        log = folder / "server.log"
        log.touch()
        written = stack.enter_context(log.open("rb"))
        stack.callback(_copy, written)  # the last lines, when it has ended
        service = Child("server", ["server", "--host", HOST, "--port", str(port)], log, env=env)
        children.append(stack.enter_context(service))
        console.print(greeting(service.url, strategy, env["WORKERS"]), highlight=False, soft_wrap=True, markup=False)
        # Read the service's output to its end: a full pipe would block it.
        threading.Thread(target=_copy, args=(service.process.stdout,), daemon=True).start()
        while True:
            _copy(written)
            for child in children:
                child.check()
            time.sleep(POLL_S)


def greeting(url: str, strategy: str, workers: str) -> str:
    """The page to open, and two lines to paste: start a chat, and stop it."""
    keys = " -H 'Authorization: Bearer YOUR_KEY'" if os.environ.get("API_KEYS") else ""
    count = f"{workers} worker{'' if workers == '1' else 's'}"
    text = GREETING.read_text(encoding="utf-8").removesuffix("\n")
    return text.format(url=url, strategy=strategy, workers=count, keys=keys)


def check_free(port: int, advice: str = "choose another: make serve PORT=8001, or --port; 0 takes any") -> None:
    """Several workers share a port (SO_REUSEPORT), so the service's own bind would not fail on a taken one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortError(f"port {port}: {error.strerror or error}; {advice}") from error


def _copy(source: IO[bytes]) -> None:
    for line in source:
        sys.stderr.write(line.decode(errors="replace"))
        sys.stderr.flush()
