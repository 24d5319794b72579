"""`wait_s`: STOPPED only after the owner has ended the chat, ACCEPTED if it has not ended in time."""

import asyncio

import pytest

import backends
from backends import AbortOutcome
from backends.delivery import Delivery

pytestmark = pytest.mark.parametrize("strategy", backends.STRATEGIES)


async def test_a_stop_is_confirmed_when_the_owner_has_ended(worker: Delivery, other: Delivery, request_id: str) -> None:
    ended = False
    async with asyncio.TaskGroup() as tasks:
        async with worker.watch(request_id, "me"):
            recorded = asyncio.Event()
            stopping = tasks.create_task(other.abort(request_id, "me", wait_s=10, on_record=recorded.set))
            await recorded.wait()
            assert not stopping.done()
            ended = True
        assert await stopping is AbortOutcome.STOPPED
    assert ended


async def test_a_stop_that_is_not_confirmed_in_time_is_only_accepted(
    worker: Delivery, other: Delivery, request_id: str
) -> None:
    async with worker.watch(request_id, "me"):
        assert await other.abort(request_id, "me", wait_s=0.05) is AbortOutcome.ACCEPTED


async def test_a_second_stop_is_confirmed_too(worker: Delivery, other: Delivery, request_id: str) -> None:
    async with worker.watch(request_id, "me"):
        assert await other.abort(request_id, "me") is AbortOutcome.ACCEPTED
        assert await other.abort(request_id, "me", wait_s=0.05) is AbortOutcome.ALREADY_ABORTED
