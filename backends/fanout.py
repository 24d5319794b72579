"""Measures what an abort costs as the number of listening workers grows: it must not, for only its owner is told.

`python -m backends.fanout redis+push://127.0.0.1:6379/0`; `make bench-fanout` starts the stores for it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import backends
from backends.delivery import Delivery

WORKERS = (1, 8, 64)
ROUNDS = 5
ABORTS = 300
AT_ONCE = 16


async def measure(workers: Sequence[Delivery], stopper: Delivery) -> tuple[float, float]:
    """(median ms from an abort to its signal, one at a time; aborts per second, `AT_ONCE` at a time)."""

    async def one(number: int) -> float:
        name = f"fanout-{number}"
        async with workers[number % len(workers)].watch(name, "bench") as signal:
            sent_s = time.perf_counter()
            await stopper.abort(name, "bench")
            await signal.wait()
            return (time.perf_counter() - sent_s) * 1000

    alone_ms = [await one(number) for number in range(ABORTS // 3)]
    gate = asyncio.Semaphore(AT_ONCE)

    async def gated(number: int) -> None:
        async with gate:
            await one(number)

    started_s = time.perf_counter()
    await asyncio.gather(*(gated(number) for number in range(ABORTS)))
    return statistics.median(alone_ms), ABORTS / (time.perf_counter() - started_s)


async def run(url: str) -> None:
    """Interleaved rounds over one, eight and sixty-four listening workers; prints a line for each, and the ratio."""
    results: dict[int, list[tuple[float, float]]] = {count: [] for count in WORKERS}
    async with AsyncExitStack() as stack:
        stopper = await stack.enter_async_context(backends.from_url(url))
        # The workers that do not own the chats listen all the same: that is what could cost.
        crowd = [await stack.enter_async_context(backends.from_url(url)) for _ in range(WORKERS[0])]
        for round_number in range(ROUNDS):
            order = WORKERS if round_number % 2 == 0 else WORKERS[::-1]
            for count in order:
                async with AsyncExitStack() as listeners:
                    more = [await listeners.enter_async_context(backends.from_url(url)) for _ in range(count - 1)]
                    results[count].append(await measure(crowd + more, stopper))
            sys.stderr.write(f"round {round_number + 1} of {ROUNDS} done\n")
    strategy = url.partition("://")[0]
    print(f"{strategy}: {ROUNDS} interleaved rounds of {ABORTS} aborts; median (lowest to highest)")  # noqa: T201
    for count in WORKERS:
        latency_ms, rate = ([pair[index] for pair in results[count]] for index in (0, 1))
        print(  # noqa: T201
            f"  {count:3} workers listening: abort to signal {statistics.median(latency_ms):.2f} ms "
            f"({min(latency_ms):.2f} to {max(latency_ms):.2f}), {statistics.median(rate):,.0f} aborts/s "
            f"({min(rate):,.0f} to {max(rate):,.0f})"
        )
    ratios = [most[0] / one[0] for one, most in zip(results[WORKERS[0]], results[WORKERS[-1]], strict=True)]
    print(  # noqa: T201
        f"  {WORKERS[-1]} against {WORKERS[0]}: {statistics.median(ratios):.2f} x the latency "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m backends.fanout", description=__doc__)
    parser.add_argument("url", help="a push strategy and its store, e.g. redis+push://127.0.0.1:6379/0")
    try:
        asyncio.run(run(parser.parse_args().url))
    except backends.BackendError as error:
        sys.exit(f"fanout: {error}")


if __name__ == "__main__":
    main()
