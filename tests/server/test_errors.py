"""How refusals look on OpenAI's paths, and what comes of /v1/models: the application, without a network."""

import json
from collections.abc import AsyncIterator

import httpx
import httpx2
import openai
import pytest
import respx
from pydantic import SecretStr

from backends import Options
from backends.deliveries import PushDelivery
from backends.memory import MemoryStore
from server.app import create_app
from server.http.request_guard import MAX_HEADER_BYTES
from server.ops.trace import Tracer
from server.settings import Settings
from server.worker import Worker
from tests.server.service import question

KEY = {"Authorization": "Bearer the-key"}
MODELS = "http://upstream.test/v1/models"


@pytest.fixture
async def service(client: openai.AsyncOpenAI) -> AsyncIterator[httpx2.AsyncClient]:
    settings = Settings(api_keys=SecretStr("the-key"), max_body_bytes=2048)
    app = create_app(settings)
    async with PushDelivery(MemoryStore(Options(), notify=True)) as delivery:
        app.state.worker = Worker(settings, delivery, client, Tracer(None))
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service.test", headers=KEY) as one:
            yield one


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (401, {"json": question(), "headers": {"Authorization": "Bearer wrong"}}),
        (413, {"content": b"x" * 3000}),
        (422, {"json": {"messages": []}}),
        (422, {"content": b"{", "headers": {"Content-Type": "application/json"}}),
        (422, {"content": b"[" * 2000, "headers": {"Content-Type": "application/json"}}),
        (431, {"json": question(), "headers": {"X-Long": "x" * MAX_HEADER_BYTES}}),
    ],
    ids=str,
)
async def test_refusals_are_in_both_shapes(service: httpx2.AsyncClient, status: int, asked: dict[str, object]) -> None:
    answer = await service.post("/v1/chat/completions", **asked)  # type: ignore[arg-type]  # as httpx2 takes them
    assert answer.status_code == status
    assert answer.json()["detail"]
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", None, None)
    assert isinstance(error["message"], str)


async def test_what_is_invalid_is_named(service: httpx2.AsyncClient) -> None:
    answer = await service.post("/v1/chat/completions", json={"model": "m", "messages": []})
    assert answer.json()["error"]["message"].startswith("body.messages: ")


@pytest.mark.parametrize(("path", "theirs"), [("/v1/models", MODELS), ("/v1/models/a%2Fb", f"{MODELS}/a%2Fb")])
async def test_models_are_passed_on(
    service: httpx2.AsyncClient, router: respx.MockRouter, path: str, theirs: str
) -> None:
    route = router.get(url__regex=f"^{theirs}$").respond(200, json={"id": "a/b", "theirs": True})
    assert (await service.get(path)).json() == {"id": "a/b", "theirs": True}
    route.mock(return_value=httpx.Response(429, json={"error": {"message": "slow"}}, headers={"Retry-After": "7"}))
    limited = await service.get(path)
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
    assert limited.json()["error"]["message"] == "slow"


async def test_an_official_client_retrieves_a_model(service: httpx2.AsyncClient, router: respx.MockRouter) -> None:
    router.get(f"{MODELS}/m").respond(200, json={"id": "m", "object": "model", "created": 1, "owned_by": "them"})
    router.get(f"{MODELS}/n").respond(404, json={"error": {"message": "no such model"}})
    one = openai.AsyncOpenAI(base_url="http://service.test/v1", api_key="the-key", http_client=service)
    assert (await one.models.retrieve("m")).owned_by == "them"
    with pytest.raises(openai.NotFoundError):
        await one.models.retrieve("n")


@pytest.mark.parametrize("name", ["..", "%2E%2E", "."])
async def test_a_models_name_leads_nowhere_else(
    service: httpx2.AsyncClient, router: respx.MockRouter, name: str
) -> None:
    everything = router.route().respond(200, json={})
    answer = await service.get(httpx2.URL(f"http://service.test/v1/models/{name.replace('.', '%2E')}"))
    assert answer.status_code == 404
    assert not everything.called


async def test_models_need_a_key(service: httpx2.AsyncClient) -> None:
    for path in ("/v1/models", "/v1/models/m"):
        assert (await service.get(path, headers={"Authorization": "Bearer wrong"})).status_code == 401


async def test_our_id_is_not_passed_on(service: httpx2.AsyncClient, router: respx.MockRouter) -> None:
    asked = router.post("http://upstream.test/v1/chat/completions").respond(200, json={"choices": []})
    answer = await service.post("/v1/chat/completions", json=question(request_id="ours", user="theirs"))
    assert answer.headers["x-chat-id"] == "ours"
    sent = json.loads(asked.calls.last.request.content)
    assert ("request_id" in sent, sent["user"]) == (False, "theirs")


async def test_an_internal_error_is_in_both_shapes_and_open_to_listed_pages() -> None:
    app = create_app(Settings(cors_origins="https://app.example"))  # without a worker nothing works
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/v1/models", headers={"Origin": "https://app.example"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
