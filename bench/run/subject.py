"""Start and warm up what is measured: the chat service with one strategy, or the calibrated one."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.record.manifest import Asgi
from bench.system.http import AnswerError, request_json, warm_up
from bench.system.procs import Child, ChildError
from bench.system.stores import Store
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
) -> Iterator[Child]:
    """Run the service under test within the block; `environment` are the variables of --env.

    Raises ChildError when it cannot start or chat.
    """
    delivery = delivery_of(strategy)
    backend = "none://"
    if delivery is not None:
        backend = store.strategy_url(delivery) if store else f"{store_of(strategy)}+{delivery}://"
    env = {
        **environment,
        "ABORT_NAMESPACE": namespace,
        "ABORT_BACKEND": backend,  # not an argument: it may contain a password, and every user can read arguments
        "WORKERS": str(workers),
        "MEMORY_WITH_WORKERS": "true",  # the losses are part of the result
        "TRACE_DIR": str(traces),
        **_upstream(mock),
    }
    arguments = ["server", "--host", "127.0.0.1", "--port", "0"]
    with Child("server", arguments, log, env=env, folder=side.checkout) as service:
        _warm(service, f"server with {strategy}", 8 * workers)
        yield service


@contextlib.contextmanager
def calibrated(mock: Child, log: Path) -> Iterator[Child]:
    """The service with known delays and losses, which the instrument must find."""
    with Child("calibrated", ["bench.experiments.contenders.calibrated"], log, env=_upstream(mock)) as service:
        _warm(service, "the calibrated service", 8)
        yield service


def describe_asgi(service: Child) -> Asgi:
    """Server and ASGI version, which decide how a disconnect is detected."""
    spec = request_json(service.url, "/healthz")["asgi"].get("spec_version")
    return Asgi(server=f"uvicorn {importlib.metadata.version('uvicorn')}", spec=spec)


def _upstream(mock: Child) -> dict[str, str]:
    return {"OPENAI_BASE_URL": f"{mock.url}/v1", "OPENAI_API_KEY": "unused"}


def _warm(service: Child, name: str, chats: int) -> None:
    try:
        warm_up(service.url, chats)
    except (OSError, AnswerError) as error:
        service.check()
        raise ChildError(f"{name} cannot chat: {error}; its log is {service.log}") from error
