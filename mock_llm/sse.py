"""The bytes of a response: seeded words, and pre-encoded events into which each word is inserted."""

import json
from random import Random
from typing import Any

# Some need JSON escapes or several bytes in UTF-8, to expose relays that split or re-encode them.
_VOCABULARY = (
    "a and are as at be but by can each every first for from good has here how in into is it its last like long make "
    "many more most much never new not now of often on one only or other over part people same see should small so "
    "some still stop stream such than that the their then there these they this time to token two under up use very "
    "was way we well what when where which while who will with word work would you answer, question. naïve café "
    'Größe, 東京 → "quoted" back\\slash it\'s'
)
_TOKENS = tuple(json.dumps(f" {word}", ensure_ascii=False)[1:-1].encode() for word in _VOCABULARY.split())

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\nx-mock-received-ns: %d\r\nx-request-id: %b\r\n\r\n"
)


def draw_tokens(seed: int, count: int) -> list[bytes]:
    """Return the first `count` tokens of the seed's text, escaped for a JSON string."""
    tokens = Random(seed).choices(_TOKENS, k=count)
    tokens[0] = tokens[0].lstrip()
    return tokens


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


class StreamBytes:
    """The events of one streamed completion as HTTP chunks; id, time and model are encoded once."""

    __slots__ = ("_fields", "_head", "_include_usage", "_role", "_tail")

    def __init__(self, completion_id: str, created_s: int, model: str, *, include_usage: bool) -> None:
        fields = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": created_s,
            "model": model,
            "service_tier": "default",
            "system_fingerprint": "fp_mock",
        }
        self._include_usage = include_usage
        self._fields = b"data: %b," % _json(fields)[:-1]
        self._head = self._fields + b'"choices":[{"index":0,"delta":{"content":"'
        self._tail = b'"},"logprobs":null,"finish_reason":null}]%b}\n\n' % self._usage(None)
        self._role = _chunk(
            self._fields
            + b'"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},'
            + b'"logprobs":null,"finish_reason":null}]%b}\n\n' % self._usage(None)
        )

    def first(self, token: bytes) -> bytes:
        """Return the role chunk and the first content chunk, which OpenAI sends together."""
        return self._role + self.token(token)

    def token(self, token: bytes) -> bytes:
        """Return one content chunk."""
        return _chunk(self._head + token + self._tail)

    def broken(self) -> bytes:
        """Return a content event with truncated JSON."""
        return _chunk(self._head + b"\n\n")

    def end(self, finish_reason: str, usage: dict[str, int]) -> bytes:
        """Return the bytes after the last token: finish chunk, usage chunk if requested, [DONE], end of the body."""
        choice = b'"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"%b"}]' % finish_reason.encode()
        end = _chunk(b"%b%b%b}\n\n" % (self._fields, choice, self._usage(None)))
        if self._include_usage:
            end += _chunk(b'%b"choices":[]%b}\n\n' % (self._fields, self._usage(usage)))
        return end + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def _usage(self, usage: dict[str, int] | None) -> bytes:
        return b',"usage":%b' % _json(usage) if self._include_usage else b""


def completion(
    completion_id: str, created_s: int, model: str, tokens: list[bytes], *, finish_reason: str, usage: dict[str, int]
) -> bytes:
    """Return the JSON body of a response that is not streamed."""
    content = json.loads(b'"%b"' % b"".join(tokens))
    message = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    return _json(
        {
            "id": completion_id,
            "object": "chat.completion",
            "created": created_s,
            "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}],
            "usage": usage,
            "service_tier": "default",
            "system_fingerprint": "fp_mock",
        }
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
