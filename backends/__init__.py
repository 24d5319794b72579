"""Abort strategies: four stores times three deliveries, chosen by a URL such as `redis+push://127.0.0.1:6379/0`."""

from __future__ import annotations

import re

from backends import foreign
from backends.base import AbortOutcome, Options, Store
from backends.deliveries import PollDelivery, PushDelivery, TimerDelivery
from backends.delivery import Delivery
from backends.errors import (
    BackendError,
    BackendUrlError,
    DeafListenerError,
    DuplicateChatError,
    StoreRefusedError,
    StoreUnavailableError,
)
from backends.signals import AbortSignal

__all__ = [
    "STRATEGIES",
    "AbortOutcome",
    "AbortSignal",
    "BackendError",
    "BackendUrlError",
    "DeafListenerError",
    "Delivery",
    "DuplicateChatError",
    "Options",
    "StoreRefusedError",
    "StoreUnavailableError",
    "from_url",
]

STRATEGIES = (
    "memory-poll",
    "memory-push",
    "postgres-poll",
    "postgres-timer",
    "postgres-push",
    "redis-poll",
    "redis-timer",
    "redis-push",
    "nats-poll",
    "nats-timer",
    "nats-push",
)
"""`<store>-<delivery>`. No `memory-timer`: it would only be a slower poll."""

_STORE_OF_SCHEME = {
    "memory": "memory",
    "postgres": "postgres",
    "postgresql": "postgres",
    "redis": "redis",
    "rediss": "redis",  # over TLS
    "redis+sentinel": "redis",  # the master of a replication group
    "rediss+sentinel": "redis",
    "redis+cluster": "redis",  # the masters of a Redis Cluster
    "rediss+cluster": "redis",
    "nats": "nats",
}
_SCHEME = re.compile(r"[a-z0-9+.-]{1,40}", re.ASCII)
_DELIVERIES = {"poll": PollDelivery, "timer": TimerDelivery, "push": PushDelivery}
_CHOICES = ", ".join(_DELIVERIES)
_DRIVERS = {"aiopg", "asyncpg", "pg8000", "psycopg", "psycopg2", "psycopg3", "psycopg_async", "aioredis", "async"}
"""Driver names in URLs written for other programs, e.g. `postgresql+asyncpg://`. Ignored: our drivers are fixed."""


def from_url(url: str, options: Options | None = None) -> Delivery:
    """Create the delivery that a backend URL names, to be entered by the caller.

    The form is `<store>+<delivery>://`, followed by the driver's own form; `redis+sentinel` and `redis+cluster` are
    stores, too. `memory+push://` needs nothing more, and `none://` is the control that delivers no abort. The default
    delivery is push. A store of another package is `<module>:<class>+<delivery>://<address>`. Raises `BackendUrlError`.
    """
    other = foreign.parse(url)
    if other is not None and other.module not in _STORE_OF_SCHEME:  # `redis:...` is a URL with a mistake
        if other.delivery not in _DELIVERIES:
            raise BackendUrlError(f"the delivery of the store {other.module}:{other.name} is one of {_CHOICES}")
        return _DELIVERIES[other.delivery](foreign.create(other, options or Options(), notify=other.delivery == "push"))
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    store_scheme, *suffixes = scheme.split("+")
    if suffixes and f"{store_scheme}+{suffixes[0]}" in _STORE_OF_SCHEME:
        store_scheme += f"+{suffixes.pop(0)}"
    store_name = _STORE_OF_SCHEME.get(store_scheme)
    names = [suffix for suffix in suffixes if suffix not in _DRIVERS] or ["push"]
    if separator and scheme == "none":
        return Delivery(_store(None, url, options or Options(), notify=False))
    if not separator or store_name is None or f"{store_name}-{'+'.join(names)}" not in STRATEGIES:
        choices = ", ".join(strategy.replace("-", "+") + "://" for strategy in STRATEGIES)
        shown = f" with scheme {scheme!r}" if separator and _SCHEME.fullmatch(scheme) else ""
        raise BackendUrlError(f"the backend URL{shown} names no strategy; choose one of {choices}, none://")
    store = _store(store_name, f"{store_scheme}://{rest}", options or Options(), notify=names == ["push"])
    return _DELIVERIES[names[0]](store)


def _store(name: str | None, url: str, options: Options, *, notify: bool) -> Store:
    """The store; its driver is imported here, so that the drivers of other stores need not be installed."""
    try:
        match name:
            case "redis" if url.startswith(("redis+cluster:", "rediss+cluster:")):
                from backends.redis.cluster_store import ClusterStore  # noqa: PLC0415 - lazily, see above

                return ClusterStore(url, options, notify=notify)
            case "redis":
                from backends.redis.store import RedisStore  # noqa: PLC0415 - lazily, see above

                return RedisStore(url, options, notify=notify)
            case "postgres":
                from backends.postgres.store import PostgresStore  # noqa: PLC0415 - lazily, see above

                return PostgresStore(url, options, notify=notify)
            case "nats":
                from backends.nats import NatsStore  # noqa: PLC0415 - lazily, see above

                return NatsStore(url, options, notify=notify)
    except ModuleNotFoundError as error:
        raise BackendUrlError(f"{name} needs the driver {error.name}: pip install '.[{name}]'") from error
    from backends.memory import MemoryStore, NoStore  # noqa: PLC0415 - lazily, see above

    return (MemoryStore if name == "memory" else NoStore)(options, notify=notify)
