"""The queue of work that can wait, and what an aborted upstream connection does until its turn."""

import asyncio
from functools import partial

import pytest

import server.low_priority
from server.low_priority import LowPriorityQueue
from tests.server.harness import CHUNK, Client, stage


async def test_the_first_runs_at_once_and_the_others_in_later_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.low_priority, "PER_ITERATION", 2)
    queue, ran = LowPriorityQueue(), list[int]()
    for number in range(5):
        queue.add(partial(ran.append, number))
    seen = [list(ran)]
    for _ in range(3):
        await asyncio.sleep(0)
        seen.append(list(ran))
    assert [len(each) for each in seen] == [2, 4, 5, 5]
    assert ran == [0, 1, 2, 3, 4]
    queue.add(lambda: ran.append(5))
    assert ran[-1] == 5  # nothing waits any more


async def test_a_turn_comes_after_what_waits_and_may_be_cancelled() -> None:
    queue, ran = LowPriorityQueue(), list[str]()

    async def take(name: str) -> None:
        await queue.turn()
        ran.append(name)

    tasks = [asyncio.create_task(take(name)) for name in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert ran == ["a", "c"]


async def test_all_upstreams_are_closed_before_the_second_chat_ends() -> None:
    async with stage() as scene:
        scene.store.free.set()
        clients = [Client() for _ in range(5)]
        chats = [asyncio.create_task(scene.chat(one, f"chat-{place}")) for place, one in enumerate(clients)]
        async with asyncio.timeout(10):
            for _ in chats:
                if len(scene.upstream.connections) < len(chats):
                    scene.upstream.connected.clear()
                    await scene.upstream.connected.wait()
            for connection in scene.upstream.connections:
                await connection.asked.wait()
                connection.answer(CHUNK)
        for client in clients:
            await client.receives(b"hi")
        for place in range(len(chats)):
            await scene.worker.delivery.abort(f"chat-{place}", "me")
        for connection in scene.upstream.connections:  # sent by a shutdown of the socket, before any chat's turn
            async with asyncio.timeout(10):
                await connection.left.wait()
        traces = [(await chat)._trace for chat in chats]
        assert [trace.finish_reason for trace in traces] == ["abort"] * len(chats)
        signalled_ns = [trace.signal_ns or 0 for trace in traces]
        assert max(signalled_ns) < sorted(trace.ended_ns or 0 for trace in traces)[1]


async def test_a_connection_that_was_aborted_at_the_end_of_its_answer_serves_no_other_chat() -> None:
    async with stage() as scene:
        scene.store.free.set()

        def abort(_body: bytes) -> None:  # while the relay forwards the last events
            if scene.worker.live:
                scene.worker.low_priority.add(lambda: None)  # takes this iteration
                scene.worker.delivery.abort_all()

        chat = asyncio.create_task(scene.chat(client := Client(abort), "chat-1"))
        first = await scene.upstream.asked()
        first.answer(CHUNK, b"data: [DONE]\n\n")
        await chat
        assert client.body == CHUNK + b"data: [DONE]\n\n"
        scene.upstream.connected.clear()
        again = asyncio.create_task(scene.chat(client := Client(), "chat-2"))
        async with asyncio.timeout(10):
            await first.left.wait()
            await scene.upstream.connected.wait()
            second = scene.upstream.connections[1]
            await second.asked.wait()
        second.answer(CHUNK)
        second.end()
        await again
        assert client.body.endswith(b"data: [DONE]\n\n")
