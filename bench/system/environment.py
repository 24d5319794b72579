"""The environment of the processes a measurement starts: a short list of variables, and what the run sets itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.workload.scenario import PlanError

if TYPE_CHECKING:
    from bench.workload.plan import Case

PASSED = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS",
)  # fmt: skip
"""What a process needs to start on this machine. Everything else could change what is measured, and is left out:
settings of the service, the mock and Locust, proxies, PYTHON*, LD_PRELOAD."""
STORES = (
    "STORES", "REDIS_URL", "DATABASE_URL", "NATS_URL", "REDIS_BINARY", "POSTGRES_BINARY", "NATS_BINARY", "REDIS_IMAGE",
    "POSTGRES_IMAGE",
)  # fmt: skip
URL_VARIABLES = {"redis": "REDIS_URL", "postgres": "DATABASE_URL", "nats": "NATS_URL"}
SET_BY_THE_RUN = (
    "ABORT_BACKEND", "ABORT_NAMESPACE", "API_KEYS", "HOST", "OPENAI_API_KEY", "OPENAI_BASE_URL", "PORT", "PYTHONHOME",
    "PYTHONPATH", "TRACE_DIR", "WORKERS",
)  # fmt: skip
ON, OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def clean() -> dict[str, str]:
    """The variables that every started process gets: PASSED and LC_*."""
    return {name: value for name, value in os.environ.items() if name in PASSED or name.startswith("LC_")}


def of_stores() -> dict[str, str]:
    """The variables that choose the stores, for a bench that is started by another one."""
    return {k: v for k, v in os.environ.items() if k in STORES or k.startswith(("DOCKER_", "TESTCONTAINERS_"))}


def parse(assignments: Iterable[str]) -> dict[str, str]:
    """The values of `--env NAME=VALUE`, sorted by name. Raises PlanError."""
    found = {}
    for each in assignments:
        name, equals, value = each.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise PlanError(f"--env {name!r} is not NAME=VALUE: write it like --env ABORT_INTERVAL_MS=50")
        if name in SET_BY_THE_RUN:
            raise PlanError(f"--env {name}: the run sets this itself; choose another variable")
        found[name] = value
    return dict(sorted(found.items()))


def switch(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a variable such as QUICK is on. Raises PlanError for a value outside ON and OFF."""
    value = environ.get(name, "").strip()
    if value.lower() not in ON + OFF:
        raise PlanError(f"{name} is {value!r}: choose from {', '.join((*ON, *filter(None, OFF)))}")
    return value.lower() in ON


def check_crashes(cases: Iterable[Case], environ: Mapping[str, str] = os.environ) -> None:
    """Reject cases that crash a store which is not our own, before the measurement starts. Raises PlanError."""
    crashing, others = dict[str, None](), dict[str, None]()
    kinds = set()
    for case in cases:
        (crashing if case.scenario.fault else others)[case.scenario.name] = None
        kinds |= {case.store} if case.scenario.fault else set()
    for kind in sorted(URL_VARIABLES.keys() & kinds):
        named = environ.get(URL_VARIABLES[kind])
        if named or environ.get("STORES", "") not in ("", "embedded"):
            rest = f", or measure the others: SCENARIO={','.join(others)}" if others else ""
            raise PlanError(
                f"SCENARIO {', '.join(crashing)} crashes {kind}, which is only done to our own servers: "
                f"unset {URL_VARIABLES[kind] if named else 'STORES'}{rest}"
            )


@contextmanager
def without_libpq() -> Iterator[None]:
    """Hide PGSSLMODE and the other PG* variables, which asyncpg would apply to our own PostgreSQL, within the block."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
    try:
        yield
    finally:
        os.environ.update(hidden)
