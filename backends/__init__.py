"""Abort strategies: three stores times three deliveries, chosen by a URL such as `redis+push://127.0.0.1:6379/0`."""

from __future__ import annotations

import re

from backends.base import (
    AbortOutcome,
    BackendError,
    BackendUrlError,
    DeafListenerError,
    DuplicateChatError,
    Options,
    Store,
    StoreRefusedError,
    StoreUnavailableError,
)
from backends.deliveries import PollDelivery, PushDelivery, TimerDelivery
from backends.delivery import Delivery
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
)
"""`<store>-<delivery>`. A timer over memory would be a slower poll, so there is none."""

_DRIVER_SCHEMES = {
    "memory": "memory",
    "postgres": "postgres",
    "postgresql": "postgres",
    "redis": "redis",
    "rediss": "redis",  # over TLS
}
_SCHEME = re.compile(r"[a-z0-9+.-]{1,40}", re.ASCII)


_DELIVERIES = {"poll": PollDelivery, "timer": TimerDelivery, "push": PushDelivery}
_DRIVERS = {"aiopg", "asyncpg", "pg8000", "psycopg", "psycopg2", "psycopg3", "psycopg_async", "aioredis", "async"}
"""Names of drivers in the URLs of other programs, e.g. `postgresql+asyncpg://`; ours are fixed, so they are skipped."""


def from_url(url: str, options: Options | None = None) -> Delivery:
    """The delivery that a backend URL names, not yet entered.

    `<store>+<delivery>://...` with what follows in the driver's own form; `memory+push://` needs nothing more, and
    `none://` is the control that delivers no abort. A URL that names no delivery takes push. Raises `BackendUrlError`.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    driver_scheme, *words = scheme.split("+")
    store_name = _DRIVER_SCHEMES.get(driver_scheme)
    names = [word for word in words if word not in _DRIVERS] or ["push"]
    if separator and scheme == "none":
        return Delivery(_store(None, url, options or Options(), notify=False))
    if not separator or store_name is None or f"{store_name}-{'+'.join(names)}" not in STRATEGIES:
        choices = ", ".join(strategy.replace("-", "+") + "://" for strategy in STRATEGIES)
        shown = f" with scheme {scheme!r}" if separator and _SCHEME.fullmatch(scheme) else ""
        raise BackendUrlError(f"the backend URL{shown} names no strategy; choose one of {choices}, none://")
    store = _store(store_name, f"{driver_scheme}://{rest}", options or Options(), notify=names == ["push"])
    return _DELIVERIES[names[0]](store)


def _store(name: str | None, url: str, options: Options, *, notify: bool) -> Store:
    """The store, its driver imported only now: a driver that is not installed costs nothing until it is asked for."""
    try:
        match name:
            case "redis":
                from backends.redis import RedisStore  # noqa: PLC0415 - lazily, see above

                return RedisStore(url, options, notify=notify)
            case "postgres":
                from backends.postgres import PostgresStore  # noqa: PLC0415 - lazily, see above

                return PostgresStore(url, options, notify=notify)
    except ModuleNotFoundError as error:
        raise BackendUrlError(f"{name} needs the driver {error.name}: pip install '.[{name}]'") from error
    from backends.memory import MemoryStore, NoStore  # noqa: PLC0415 - lazily, see above

    kind = MemoryStore if name == "memory" else NoStore
    return kind(options, notify=notify)
