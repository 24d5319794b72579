"""How upstream failures become ours, without a network: respx, made to see the transport that openai 3.x uses."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpcore2
import httpx
import httpx2
import openai
import pytest
import respx

from backends import Options
from backends.deliveries import PushDelivery
from backends.memory import MemoryStore
from server.ops.trace import Tracer
from server.relay.chat import ChatResponse
from server.relay.connections import DeferredConnection
from server.relay.upstream import list_models, open_stream
from server.relay.upstream_errors import KEY_REJECTED, UpstreamError
from server.settings import Settings
from server.worker import Worker
from tests.server.harness import CHUNK, Client

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
URL = "http://upstream.test/v1/chat/completions"


def released_connection() -> DeferredConnection:
    connection = DeferredConnection()
    connection.release()
    return connection


async def relay(client: openai.AsyncOpenAI) -> bytes:
    async with open_stream(client, dict(BODY), "r1", idle_timeout_s=5, connection=released_connection()) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_bytes_pass_unchanged(client: openai.AsyncOpenAI, router: respx.MockRouter) -> None:
    stream = b'data: {"choices":[]}\n\ndata: [DONE]\n\n'
    route = router.post(URL).respond(200, content=stream, headers={"Content-Type": "text/event-stream"})
    assert await relay(client) == stream
    sent = route.calls.last.request
    assert sent.headers["x-request-id"] == "r1"
    assert sent.headers["authorization"] == "Bearer sk-a-secret"


@pytest.mark.parametrize(("theirs", "ours"), [(400, 400), (404, 404), (429, 429), (500, 502), (503, 502)])
async def test_statuses(client: openai.AsyncOpenAI, router: respx.MockRouter, theirs: int, ours: int) -> None:
    error = {"message": "their words", "type": "their_type", "code": "their_code", "param": None}
    route = router.post(URL).respond(theirs, json={"error": error}, headers={"Retry-After": "7"})
    with pytest.raises(UpstreamError) as caught:
        await relay(client)
    assert (caught.value.status, caught.value.error, caught.value.headers) == (ours, error, {"Retry-After": "7"})
    assert route.call_count == 1  # a retry would hide the answer from the client


@pytest.mark.parametrize("status", [401, 403])
async def test_an_upstreams_error_about_the_key_is_hidden_from_the_client(
    client: openai.AsyncOpenAI, router: respx.MockRouter, status: int
) -> None:
    error = {"message": "Incorrect API key provided: sk-a-s****", "code": "invalid_api_key"}
    router.post(URL).respond(status, json={"error": error})
    with pytest.raises(UpstreamError) as caught:
        await relay(client)
    assert (caught.value.status, caught.value.error) == (502, KEY_REJECTED | {"code": None, "param": None})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_bad_gateway(client: openai.AsyncOpenAI, router: respx.MockRouter, status: int) -> None:
    router.post(URL).respond(status, headers={"Location": "http://elsewhere.test/"})
    with pytest.raises(UpstreamError) as caught:
        await relay(client)
    assert caught.value.status == 502
    assert "redirect" in caught.value.error["message"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"detail": "no such model"}, "no such model"),
        ({"detail": [{"msg": "wrong"}]}, "[{'msg': 'wrong'}]"),
        ({"error": "no such model"}, "no such model"),
        ({"error": {"message": None}}, "Error code: 400"),
        ({}, "Error code: 400"),
        (["?"], "Error code: 400"),
    ],
    ids=str,
)
async def test_other_servers_errors_get_openais_shape(
    client: openai.AsyncOpenAI, router: respx.MockRouter, said: Any, message: str
) -> None:
    router.post(URL).respond(400, json=said)
    with pytest.raises(UpstreamError) as caught:
        await relay(client)
    assert caught.value.status == 400
    assert caught.value.error["message"] == message
    assert {"type", "code", "param"} <= caught.value.error.keys()


@pytest.mark.parametrize("kind", ["application/json", "text/html; charset=utf-8"])
async def test_a_200_that_is_no_stream_is_a_bad_gateway(
    client: openai.AsyncOpenAI, router: respx.MockRouter, kind: str
) -> None:
    router.post(URL).respond(200, content=b'{"choices": []}', headers={"Content-Type": kind})
    with pytest.raises(UpstreamError) as caught:
        await relay(client)
    assert caught.value.status == 502


async def test_an_answer_that_is_no_json(client: openai.AsyncOpenAI, router: respx.MockRouter) -> None:
    router.post(URL).respond(500, text="<html>oops</html>")
    with pytest.raises(UpstreamError) as caught:
        await relay(client)
    assert caught.value.status == 502
    assert caught.value.error["type"] == "upstream_error"


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (httpcore2.ConnectError("refused"), 502),
        (httpcore2.RemoteProtocolError("cut"), 502),
        (httpcore2.ReadTimeout("slow"), 504),
        (httpcore2.ConnectTimeout("nobody there"), 502),
    ],
)
async def test_failures(client: openai.AsyncOpenAI, router: respx.MockRouter, failure: Exception, status: int) -> None:
    router.post(URL).mock(side_effect=failure)
    with pytest.raises(UpstreamError) as caught:
        await relay(client)
    assert caught.value.status == status
    assert "sk-a-secret" not in str(caught.value.error)


class Broken(httpx2.AsyncByteStream):
    """Some whole events, and then what goes wrong."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield CHUNK
        raise self._failure

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpcore2.ReadError("cut"), "upstream_unreachable"),
        (httpcore2.RemoteProtocolError("cut"), "upstream_unreachable"),
        (httpcore2.ReadTimeout("silent"), "upstream_timeout"),
    ],
)
async def test_a_failure_in_mid_stream_is_an_error_event(
    client: openai.AsyncOpenAI, router: respx.MockRouter, failure: Exception, kind: str
) -> None:
    router.post(URL).mock(side_effect=lambda _request: httpx.Response(200, stream=Broken(failure)))  # type: ignore[arg-type]  # the same shape
    async with PushDelivery(MemoryStore(Options(), notify=True)) as delivery:
        worker = Worker(Settings(), delivery, client, Tracer(None))
        response = ChatResponse(dict(BODY), request_id="r1", owner="me", worker=worker)
        await response({"type": "http"}, (client_side := Client()).receive, client_side.send)
    first, error, last = client_side.body.decode().removesuffix("\n\n").split("\n\n")
    assert first.encode() == CHUNK.strip()
    assert error.startswith("event: error\ndata: ")
    assert json.loads(error.split("data: ")[1])["error"]["type"] == kind
    assert last == "data: [DONE]"


async def test_models_fail_alike(client: openai.AsyncOpenAI, router: respx.MockRouter) -> None:
    router.get("http://upstream.test/v1/models").respond(500, json={"error": {"message": "down"}})
    with pytest.raises(UpstreamError) as caught:
        await list_models(client)
    assert caught.value.status == 502


async def test_a_client_without_the_connector_sends_after_the_release(
    client: openai.AsyncOpenAI, router: respx.MockRouter
) -> None:
    route = router.post(URL).respond(200, content=b"data: [DONE]\n\n")
    calls = []

    class Watching(DeferredConnection):
        async def wait_released(self) -> None:
            calls.append(route.call_count)

    async with open_stream(client, dict(BODY), "r1", idle_timeout_s=5, connection=Watching()) as stream:
        assert [data async for data in stream] == [b"data: [DONE]\n\n"]
    assert (calls, route.call_count) == ([0], 1)
