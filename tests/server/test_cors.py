"""Pages of other origins, by setting; and HEAD, health and unknown paths as other programs ask for them."""

import httpx2
import pytest
from pydantic import ValidationError

from server.settings import Settings
from tests.server.guarded import ALICE, PAGE
from tests.server.service import question


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    names = "authorization,content-type,x-chat-id,x-stainless-lang"
    return {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": names}


@pytest.mark.parametrize("path", ["/chat/", "/abort/", "/v1/chat/completions", "/v1/models"])
@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000"])
async def test_a_preflight_of_a_listed_page_is_granted(
    guarded_service: httpx2.AsyncClient, path: str, origin: str
) -> None:
    answer = await guarded_service.options(path, headers=preflight(origin))
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "x-stainless-lang" in answer.headers["access-control-allow-headers"]


async def test_a_preflight_of_any_other_page_is_not(guarded_service: httpx2.AsyncClient) -> None:
    for origin in ("https://evil.example", f"{PAGE}.evil.example", "null", "http://app.example"):
        answer = await guarded_service.options("/chat/", headers=preflight(origin))
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("expected", "path", "asked"),
    [
        (200, "/chat/", {"json": question("[mock:output_tokens=1]")}),
        (200, "/v1/chat/completions", {"json": question("[mock:output_tokens=1]")}),
        (200, "/v1/chat/completions", {"json": question("[mock:output_tokens=1]", stream=True)}),
        (404, "/abort/", {"json": {"request_id": "nobody"}}),  # past the framework
        (401, "/chat/", {"json": question(), "headers": {"Authorization": "Bearer wrong"}}),
        (413, "/chat/", {"content": b"x" * 5000}),
        (422, "/chat/", {"json": {}}),
        (422, "/abort/", {"json": {}}),
        (429, "/chat/", {"json": question("[mock:fault=http_429]")}),
        (431, "/chat/", {"json": question(), "headers": {"X-Long": "x" * 40_000}}),
        (502, "/chat/", {"json": question("[mock:fault=http_500]")}),
        (404, "/v1/responses", {"json": {}}),
    ],
    ids=str,
)
async def test_every_answer_may_be_read_by_a_listed_page(
    guarded_service: httpx2.AsyncClient, expected: int, path: str, asked: dict[str, object]
) -> None:
    headers = ALICE | {"Origin": PAGE} | asked.pop("headers", {})  # type: ignore[operator]
    answer = await guarded_service.post(path, headers=headers, **asked)  # type: ignore[arg-type]  # as httpx2 takes them
    assert answer.status_code == expected
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert {"X-Request-Id", "X-Chat-Id"} <= set(answer.headers["access-control-expose-headers"].split(", "))


@pytest.mark.parametrize("path", ["/healthz", "/health", "/readyz", "/metrics", "/", "/page/page.js"])
async def test_head_is_get_without_a_body(guarded_service: httpx2.AsyncClient, path: str) -> None:
    get, head = await guarded_service.get(path), await guarded_service.head(path)
    assert get.status_code == head.status_code == 200
    assert get.headers["content-type"] == head.headers["content-type"]
    assert head.content == b""
    assert get.content


@pytest.mark.parametrize(
    ("method", "path", "expected", "word"),
    [
        ("POST", "/v1/responses", 404, "Responses API"),
        ("GET", "/v1/responses/resp_1", 404, "Responses API"),
        ("POST", "/v1/embeddings", 404, "POST /v1/chat/completions"),
        ("GET", "/v1/engines", 404, "POST /v1/chat/completions"),
        ("DELETE", "/v1/files/f", 404, "POST /v1/chat/completions"),
        ("GET", "/v1/", 404, "POST /v1/chat/completions"),
        ("GET", "/v1/chat/completions", 405, "use POST"),
        ("PUT", "/v1/chat/completions", 405, "use POST"),
        ("POST", "/v1/models", 405, "use GET"),
    ],
)
async def test_an_unsupported_path_is_an_error_in_openais_shape(
    guarded_service: httpx2.AsyncClient, method: str, path: str, expected: int, word: str
) -> None:
    answer = await guarded_service.request(method, path, headers=ALICE)
    assert answer.status_code == expected
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert word in error["message"]
    assert path in error["message"]
    if expected == 405:
        assert answer.headers["allow"]


async def test_without_the_setting_no_page_is_let_in(service_url: str) -> None:
    async with httpx2.AsyncClient(base_url=service_url) as client:
        answer = await client.options("/chat/", headers=preflight(PAGE))
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/path", "https://"])
def test_an_origin_that_is_none_is_no_setting(origin: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        Settings(cors_origins=origin)
