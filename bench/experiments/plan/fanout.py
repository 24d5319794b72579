"""Cost of one message for a store's server by the number of connections that listen."""

import asyncio
import contextlib
import time

from bench.record.plan import PlanFanout
from bench.system.store_urls import for_asyncpg
from bench.system.stores import Store

LISTENERS = (1, 16, 64)
SENDERS = 8
MESSAGES, QUICK_MESSAGES = 4000, 400  # multiples of ten per sender
PAYLOAD = "17 chat-0123456789abcdef"  # generation and request id, as in an abort
Cost = tuple[float | None, float]
"""Server CPU time per message, microseconds, and messages per second."""


def measure_fanout(store: Store, *, quick: bool = False) -> PlanFanout:
    """Redis: all listen on one channel. PostgreSQL: each on its own, as our workers do; the server wakes all of them.

    SENDERS connections send at the same time. The listeners are woken for nothing else, and read what they receive
    after the measurement (Redis) or as it arrives (PostgreSQL).
    """
    messages = QUICK_MESSAGES if quick else MESSAGES
    send = _redis if store.kind == "redis" else _postgres
    found = [send(store, listeners, messages) for listeners in LISTENERS]
    cpu_us = [cpu for cpu, _per_s in found if cpu is not None]
    per_s = [round(per_s, 1) for _cpu, per_s in found]
    return PlanFanout(store=store.kind, listeners=list(LISTENERS), cpu_us=cpu_us, per_s=per_s, senders=SENDERS)


def _redis(store: Store, listeners: int, messages: int) -> Cost:
    from redis import Redis  # noqa: PLC0415 - only this part needs the driver

    channel = "stopwatch_plan_fanout"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Redis.from_url(store.url)) for _ in range(SENDERS)]
        for _ in range(listeners):
            listener = stack.enter_context(stack.enter_context(Redis.from_url(store.url)).pubsub())
            listener.subscribe(channel)
            listener.get_message(timeout=5.0)  # its confirmation

        before_s, began = store.cpu_s(), time.monotonic()
        pipes = [client.pipeline(transaction=False) for client in clients]
        for _ in range(messages // SENDERS // 10):  # ten at a time, so that no reply fills a buffer
            for pipe in pipes:
                for _ in range(10):
                    pipe.publish(channel, PAYLOAD)
                pipe.execute()
        return _cost(store, before_s, time.monotonic() - began, messages // SENDERS // 10 * 10 * SENDERS)


def _postgres(store: Store, listeners: int, messages: int) -> Cost:
    return asyncio.run(_postgres_async(store, listeners, messages))


async def _postgres_async(store: Store, listeners: int, messages: int) -> Cost:
    import asyncpg  # noqa: PLC0415 - only this part needs the driver

    url, settings = for_asyncpg(store.url), {"synchronous_commit": "off"}  # as the service's connections
    async with contextlib.AsyncExitStack() as stack:
        opened = [await asyncpg.connect(url, server_settings=settings) for _ in range(SENDERS + listeners)]
        for connection in opened:
            stack.callback(connection.terminate)
        senders, waiting = opened[:SENDERS], opened[SENDERS:]
        for number, connection in enumerate(waiting):
            await connection.add_listener(f"stopwatch_plan_{number}", lambda *_message: None)

        async def send(number: int) -> None:
            for _ in range(messages // SENDERS):
                place = number % len(waiting)
                await senders[number].execute("SELECT pg_notify($1, $2)", f"stopwatch_plan_{place}", PAYLOAD)

        before_s, began = store.cpu_s(), time.monotonic()
        await asyncio.gather(*map(send, range(SENDERS)))
        return _cost(store, before_s, time.monotonic() - began, messages // SENDERS * SENDERS)


def _cost(store: Store, before_s: float | None, took_s: float, messages: int) -> Cost:
    after_s = store.cpu_s()
    cpu_us = None if before_s is None or after_s is None else (after_s - before_s) * 1e6 / messages
    return cpu_us, messages / took_s
