"""The ends of an upstream's answer, complete or not, for the client, the metrics and the trace."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest

from server.api.openai_api import WholeChatResponse
from server.ops import metrics
from server.relay.chat import ChatResponse
from server.relay.upstream_errors import INCOMPLETE
from server.sse import DONE
from tests.server.harness import CHUNK, HEAD, Client, Connection, Stage, stage

FINAL = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n'
USAGE = b'data: {"id": "c", "choices": [], "usage": {"total_tokens": 3}}\n\n'
WHOLE = json.dumps({"object": "chat.completion", "choices": [{"message": {}, "finish_reason": "length"}]}).encode()


@pytest.fixture
async def scene() -> AsyncIterator[Stage]:
    async with stage() as one:
        one.store.free.set()
        yield one


async def ended(
    scene: Stage, answer: Callable[[Connection], None], kind: type[ChatResponse] = ChatResponse
) -> tuple[Client, ChatResponse]:
    """One chat whose upstream answers so."""
    response = kind({"model": "m", "messages": []}, request_id="chat-1", owner="me", worker=scene.worker)
    client_side = Client()
    running = asyncio.create_task(response({"type": "http"}, client_side.receive, client_side.send))
    answer(await scene.upstream.asked())
    async with asyncio.timeout(10):
        await running
    return client_side, response


def broken_off(*parts: bytes) -> Callable[[Connection], None]:
    """Answers with these events, and ends as if that were all."""

    def answer(upstream: Connection) -> None:
        upstream.answer(*parts)
        upstream.break_off()

    return answer


def reason(response: ChatResponse) -> str | None:
    return response._trace.finish_reason


async def test_an_upstream_without_done_is_complete_after_its_finish_reason(scene: Stage) -> None:
    client_side, response = await ended(scene, broken_off(CHUNK, FINAL))
    assert client_side.body == CHUNK + FINAL + DONE
    assert reason(response) == "length"


@pytest.mark.parametrize("parts", [(CHUNK,), (CHUNK, FINAL[:-4])], ids=["a chunk", "half an event"])
async def test_an_upstream_that_breaks_off_has_failed(scene: Stage, parts: tuple[bytes, ...]) -> None:
    client_side, response = await ended(scene, broken_off(*parts))
    whole = b"".join(part for part in parts if part.endswith(b"\n\n"))
    assert client_side.body.startswith(whole + b"event: error\ndata: ")
    assert client_side.body.endswith(b"}\n\n" + DONE)
    assert reason(response) == "error"


async def test_an_upstream_that_gives_nothing_has_failed(scene: Stage) -> None:
    client_side, response = await ended(scene, broken_off())
    assert client_side.status == 502
    assert json.loads(client_side.body)["error"]["message"] == INCOMPLETE["message"]
    assert reason(response) == "error"


async def test_a_body_that_ends_with_its_connection_is_no_success(scene: Stage) -> None:
    def answer(upstream: Connection) -> None:
        upstream.transport.write(HEAD.replace(b"Transfer-Encoding: chunked\r\n", b"") + CHUNK)
        upstream.transport.close()

    client_side, response = await ended(scene, answer)
    assert b"event: error\n" in client_side.body
    assert reason(response) == "error"


async def test_json_in_place_of_a_stream_is_a_bad_gateway(scene: Stage) -> None:
    client_side, response = await ended(scene, lambda upstream: whole(upstream, WHOLE))
    assert client_side.status == 502
    assert json.loads(client_side.body)["error"]["type"] == "upstream_error"
    assert reason(response) == "error"


def whole(upstream: Connection, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    upstream.transport.write(head % len(body) + body)


@pytest.mark.parametrize("together", [False, True])
async def test_the_reason_and_the_number_of_chunks_are_known(scene: Stage, together: bool) -> None:
    """Also when the last ones come in one read with the usage chunk and the end."""
    parts = [CHUNK + FINAL + USAGE + DONE] if together else [CHUNK, FINAL, USAGE, DONE]
    client_side, response = await ended(scene, broken_off(*parts))
    assert client_side.body == CHUNK + FINAL + USAGE + DONE
    assert (reason(response), response._trace.chunks) == ("length", 3)


async def test_done_with_crlf_is_done(scene: Stage) -> None:
    end = DONE.replace(b"\n", b"\r\n")
    client_side, _ = await ended(scene, broken_off(CHUNK, end))
    assert client_side.body == CHUNK + end


async def test_an_aborted_chat_reports_the_number_of_sent_chunks(scene: Stage) -> None:
    """Chunks, and not the reads of the upstream that brought them."""

    def abort_at_the_first(body: bytes) -> None:
        if body == CHUNK * 2:
            scene.worker.delivery.abort_all()

    client_side = Client(abort_at_the_first)
    running = asyncio.create_task(scene.chat(client_side))
    upstream = await scene.upstream.asked()
    upstream.answer(CHUNK * 2)
    async with asyncio.timeout(10):
        await upstream.left.wait()
        response = await running
    last = json.loads(client_side.body.split(b"data: ")[-2])
    assert (last["delivered_chunks"], response._trace.chunks) == (2, 2)


async def test_a_whole_chat_has_its_reason_and_its_time_to_the_first_byte(scene: Stage) -> None:
    def observed() -> float:
        return sum(
            sample.value for sample in next(iter(metrics.TTFT_S.collect())).samples if sample.name.endswith("_count")
        )

    before = observed()
    client_side, response = await ended(scene, lambda upstream: whole(upstream, WHOLE), WholeChatResponse)
    assert client_side.body == WHOLE
    assert reason(response) == "length"
    assert observed() == before + 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b'{"choices":'])
async def test_a_whole_answer_that_is_no_object_is_a_bad_gateway(scene: Stage, body: bytes) -> None:
    client_side, _ = await ended(scene, lambda upstream: whole(upstream, body), WholeChatResponse)
    assert client_side.status == 502


@pytest.mark.parametrize("choices", [[None], 7, [{"finish_reason": 7}], [{"finish_reason": ["stop"]}]])
async def test_a_malformed_chunk_reaches_the_client_and_breaks_nothing(scene: Stage, choices: object) -> None:
    chunk = b"data: " + json.dumps({"choices": choices, "finish_reason": None}).encode() + b"\n\n"
    client_side, response = await ended(scene, broken_off(chunk))
    assert client_side.body.startswith(chunk + b"event: error\n")
    assert client_side.body.endswith(DONE)
    assert reason(response) == "error"


async def test_a_redirect_is_not_followed(scene: Stage) -> None:
    """With the real transport: the chat is not sent to the host in the redirect."""
    asked_elsewhere = asyncio.Event()

    async def elsewhere(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked_elsewhere.set()
        writer.close()

    async with await asyncio.start_server(elsewhere, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()
        client_side, _ = await ended(scene, lambda upstream: upstream.transport.write(head))
    assert client_side.status == 502
    assert "redirect" in json.loads(client_side.body)["error"]["message"]
    assert not asked_elsewhere.is_set()


def test_reasons_that_an_upstream_makes_up_are_one_label() -> None:
    for made_up in ["made-up", "refused_", "refused_418", "refused_" + "x" * 5000, "Stop", "stop ", "\ud83d", "a\nb"]:
        metrics.count_chat(made_up)
    for known in ["stop", "shutdown", "refused_409", None]:
        metrics.count_chat(known)
    labels = {sample.labels["finish_reason"] for sample in next(iter(metrics.CHATS.collect())).samples}
    assert {"stop", "shutdown", "refused_409", "unknown", "other"} <= labels
    allowed = ["stop", "length", "tool_calls", "content_filter", "function_call", "abort", "disconnect", "shutdown"]
    assert labels <= {*allowed, "error", "unknown", "other", "refused_409", "refused_429", "refused_503"}
