"""Start and warm up what is measured: the chat service with one strategy, or the calibrated one."""

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.record.manifest import Asgi
from bench.system.http import AnswerError, request_json, warm_up
from bench.system.procs import Child, ChildError
from bench.system.stores import Store
from bench.targets.files import OURS, read_target
from bench.targets.templates import render
from bench.workload.plan import delivery_of, store_of

NO_ENVIRONMENT: Mapping[str, str] = {}


@dataclass(frozen=True)
class Side:
    """A state of the code under test: its name (empty when there is only one) and the checkout it runs from."""

    name: str = ""
    checkout: Path | None = None


@contextlib.contextmanager
def service_of(
    strategy: str,
    workers: int,
    *,
    side: Side,
    store: Store | None,
    namespace: str,
    mock: Child,
    traces: Path,
    log: Path,
    environment: Mapping[str, str] = NO_ENVIRONMENT,
    host: str = "127.0.0.1",
) -> Iterator[Child]:
    """Run the service under test within the block; `environment` are the variables of --env.

    Raises ChildError when it cannot start or chat.
    """
    delivery = delivery_of(strategy)
    backend = "none://"
    if delivery is not None:
        backend = store.strategy_url(delivery) if store else f"{store_of(strategy)}+{delivery}://"
    process = read_target(OURS)[0].process
    assert process is not None  # noqa: S101 - our own file
    values = {
        "abort_backend": backend, "host": host, "mock": mock.url, "namespace": namespace, "python": sys.executable,
        "traces": str(traces), "workers": workers,
    }  # fmt: skip
    argv = [render(each, values) for each in process.argv]
    env = {**environment, **{name: render(text, values) for name, text in process.env.items()}}
    with Child("server", (), log, argv=argv, env=env, folder=side.checkout) as service:
        _warm(service, f"server with {strategy}", 8 * workers)
        yield service


@contextlib.contextmanager
def calibrated(mock: Child, log: Path, host: str = "127.0.0.1") -> Iterator[Child]:
    """The service with known delays and losses, which the instrument must find."""
    env = {"OPENAI_BASE_URL": f"{mock.url}/v1", "OPENAI_API_KEY": "unused", "HOST": host}
    with Child("calibrated", ["bench.experiments.contenders.calibrated"], log, env=env) as service:
        _warm(service, "the calibrated service", 8)
        yield service


def describe_asgi(service: Child) -> Asgi:
    """Server and ASGI version, which decide how a disconnect is detected."""
    spec = request_json(service.url, "/healthz")["asgi"].get("spec_version")
    return Asgi(server=f"uvicorn {importlib.metadata.version('uvicorn')}", spec=spec)


def _warm(service: Child, name: str, chats: int) -> None:
    try:
        warm_up(service.url, chats)
    except (OSError, AnswerError) as error:
        service.check()
        raise ChildError(f"{name} cannot chat: {error}; its log is {service.log}") from error
