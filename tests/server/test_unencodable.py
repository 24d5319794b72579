"""JSON that Python parses but cannot encode again: 422 with its place, on every path."""

from typing import Any

import httpx2
import pytest

from tests.server.service import chunks

HALF = r'"\ud83d"'
CHATS = ["/chat/", "/v1/chat/completions"]


def chat(content: str = '"hi"', more: str = "", model: str = '"m"') -> str:
    return f'{{"model":{model},"messages":[{{"role":"user","content":{content}}}]{more}}}'


async def sent(service: httpx2.AsyncClient, path: str, body: bytes | str, **headers: str) -> tuple[int, Any]:
    answer = await service.post(path, content=body, headers={"Content-Type": "application/json"} | headers)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("stream", ["", ',"stream":true', ',"stream":false'])
@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize(
    ("body", "place"),
    [
        (chat(HALF), "body.messages.0.content"),
        (chat(r'"a \uDE00\ud83d b"'), "body.messages.0.content"),
        (chat(f'[{{"type":"text","text":{HALF}}}]'), "body.messages.0.content.0.text"),
        (chat(model=HALF), "body.model"),
        (chat(more=f',"user":{HALF}'), "body.user"),
        (chat(more=f',"request_id":{HALF}'), "body.request_id"),
        (chat(more=f',"tools":[{{"function":{{"name":{HALF}}}}}]'), "body.tools.0.function.name"),
        (chat(more=f",{HALF}:1"), r"body.\ud83d"),
        (f'{{"messages":{HALF}}}', "body.messages"),  # invalid otherwise, too
        (HALF, "body"),
        (chat(more=',"temperature":NaN'), "body.temperature"),
        (chat(more=',"logit_bias":{"1":-Infinity}'), "body.logit_bias.1"),
        (chat(more=',"temperature":1e999'), "body.temperature"),
        (chat("[" * 300 + "]" * 300), "body.messages"),
    ],
)
async def test_a_chat_that_cannot_be_encoded_is_refused_by_name(
    service: httpx2.AsyncClient, path: str, body: str, place: str, stream: str
) -> None:
    if body.endswith("}"):
        body = body[:-1] + stream + "}"
    status, refusal = await sent(service, path, body)
    assert status == 422
    assert ".".join(map(str, refusal["detail"][0]["loc"])) == place
    assert refusal["error"]["message"].startswith(f"{place}: ")


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])  # fast path and not
@pytest.mark.parametrize(
    ("body", "place"),
    [
        (r'{"request_id":"\ud83d"}', "body.request_id"),
        (r'{"request_id":"x","\udfff":1}', r"body.\udfff"),
        (r'{"request_id":"\u0000"}', "body.request_id"),
        ('{"request_id":"x","wait_ms":NaN}', "body.wait_ms"),
        ('{"request_id":"x","wait_ms":1e999}', "body.wait_ms"),
        ('{"request_id":"x","wait_ms":' + "9" * 400 + "}", "body.wait_ms"),
        ('{"request_id":"x","wait_ms":' + "9" * 5000 + "}", "body"),
        ('{"request_id":' + "[" * 400 + "]" * 400 + "}", "body.request_id"),
        ("[" * 100_000, "body"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_an_abort_that_cannot_be_encoded_is_refused_by_name(
    service: httpx2.AsyncClient, body: str, place: str, content_type: str
) -> None:
    status, refusal = await sent(service, "/abort/", body, **{"Content-Type": content_type})
    assert status == 422
    assert ".".join(map(str, refusal["detail"][0]["loc"])) == place


async def test_half_an_emoji_in_bytes_is_named_too(service: httpx2.AsyncClient) -> None:
    status, refusal = await sent(service, "/chat/", chat('"?"').encode().replace(b"?", b"\xed\xa0\xbd"))
    assert (status, refusal["detail"][0]["loc"]) == (422, ["body", "messages", 0, "content"])


async def test_whole_emoji_pass_escaped_or_not(service: httpx2.AsyncClient) -> None:
    for content in (r'"\ud83d\ude00 [mock:output_tokens=1]"', '"😀 [mock:output_tokens=1]"'):
        answer = await service.post("/chat/", content=chat(content), headers={"Content-Type": "application/json"})
        assert answer.status_code == 200
        assert chunks(answer.text)


async def test_of_equal_keys_the_last_one_counts_on_both_ways(service: httpx2.AsyncClient) -> None:
    body = '{"request_id":"\\n","request_id":"nobody-has-it"}'
    for content_type in ("application/json", "application/json; charset=utf-8"):
        status, _ = await sent(service, "/abort/", body, **{"Content-Type": content_type})
        assert status == 404


async def test_a_refusal_does_not_repeat_what_was_sent(service: httpx2.AsyncClient) -> None:
    status, refusal = await sent(service, "/chat/", chat('"a secret"', ',"request_id":7'))
    assert status == 422
    assert "a secret" not in str(refusal)
    assert set(refusal["detail"][0]) == {"type", "loc", "msg"}


@pytest.mark.parametrize("name", ["%ED%A0%BD", "%00", "%0A", "%FF", "x" * 300])
async def test_an_odd_model_name_in_a_path_is_a_4xx(service: httpx2.AsyncClient, name: str) -> None:
    answer = await service.get(f"/v1/models/{name}")
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("header", ["X-Chat-Id", "X-Request-Id", "Authorization", "Accept", "User-Agent"])
async def test_odd_bytes_in_a_header_are_no_500(service: httpx2.AsyncClient, header: str) -> None:
    answer = await service.post(
        "/v1/chat/completions",
        content=chat('"[mock:output_tokens=1]"'),
        headers=[(b"Content-Type", b"application/json"), (header.encode(), b"\xed\xa0\xbd\xff")],
    )
    assert answer.status_code == (422 if header == "X-Chat-Id" else 200)
