"""`python -m backends.measure <part> <url>`: one JSON line of raw samples after each pair."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import suppress
from typing import NoReturn

import uvloop  # on both sides, as in the service

import backends
from backends.base import Options
from backends.measure import owner, parts, trips

PARTS = {"latency": (parts.latency, 400), "burst": (parts.burst, 1000), "fanout": (parts.fanout, 100)}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _exit(4, message)


def main() -> None:
    """Run the command line; exit code 2 if the store does not answer, 4 for bad usage, each with a one-line message."""
    parser = _Parser(prog="python -m backends.measure", description=__doc__)
    parser.add_argument("part", choices=[*PARTS, "trips", "owner"], help="owner: the second process of the others")
    parser.add_argument(
        "url", nargs="?", default=os.environ.get("ABORT_BACKEND"), help="a push strategy, or ABORT_BACKEND"
    )
    parser.add_argument("--pairs", type=int, default=5, help="number of side-by-side measurements")
    parser.add_argument("--samples", type=int, help="aborts per pair and side")
    parser.add_argument("--namespace", default="stopwatch_bench", help="key prefix or schema in the store")
    chosen = parser.parse_args()
    if not chosen.url:
        _exit(4, "no store given: name one, e.g. redis+push://127.0.0.1:6379/0, or set ABORT_BACKEND")
    if "+push://" not in chosen.url:
        _exit(4, "only a push strategy can be measured: redis+push://... or postgres+push://...")
    # No renewals, heartbeats or pings during the measurement.
    options = Options(namespace=chosen.namespace, ttl_s=3600.0, heartbeat_s=3600.0, keepalive_s=3600.0)
    try:
        with suppress(KeyboardInterrupt):
            uvloop.run(_run(chosen, options))
    except backends.BackendUrlError as error:
        _exit(4, str(error))
    except (backends.BackendError, OSError) as error:
        _exit(2, str(error))


async def _run(chosen: argparse.Namespace, options: Options) -> None:
    if chosen.part == "owner":
        await owner.serve(chosen.url, options)
    elif chosen.part == "trips":
        async for row in trips.trips(chosen.url, options):
            _write(row)
    else:
        part, samples = PARTS[chosen.part]
        async for row in part(chosen.url, options, chosen.pairs, chosen.samples or samples):
            _write(row)


def _write(row: parts.Row) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def _exit(code: int, message: str) -> NoReturn:
    sys.stderr.write(f"measure: {message}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
