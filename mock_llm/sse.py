"""The bytes of a response: seeded words, and the events of (chat) completions into which each word is inserted."""

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


def chunk(event: bytes) -> bytes:
    """Return one HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(event), event)


def json_bytes(value: Any) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def joined(tokens: list[bytes]) -> str:
    """Return the text of escaped tokens."""
    return str(json.loads(b'"%b"' % b"".join(tokens)))


class Encoder:
    """The bytes of one response in the format of one API: HTTP chunks of its events, or its JSON body."""

    opening = b""  # sent with the response headers

    def first(self, token: bytes) -> bytes:
        """Return what is sent with the first token, and the token."""
        return self.token(token)

    def token(self, token: bytes) -> bytes:
        """Return one content event."""
        raise NotImplementedError

    def broken(self) -> bytes:
        """Return a content event with truncated JSON."""
        raise NotImplementedError

    def end(self, tokens: list[bytes], reason: str) -> bytes:
        """Return what follows the last token, to the end of the body; `reason` is stop or length."""
        raise NotImplementedError

    def whole(self, tokens: list[bytes], reason: str) -> bytes:
        """Return the JSON body of a response that is not streamed."""
        raise NotImplementedError


class ChatEvents(Encoder):
    """The events of a chat completion; id, time and model are encoded once."""

    _object = "chat.completion.chunk"
    _whole_object = "chat.completion"
    _head = b'"choices":[{"index":0,"delta":{"content":"'
    _tail = b'"},"logprobs":null,"finish_reason":null}]'
    _finish = b'"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"%b"}]'
    _role = (
        b'"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},'
        b'"logprobs":null,"finish_reason":null}]'
    )

    def __init__(
        self, completion_id: str, created_s: int, model: str, *, include_usage: bool, prompt_tokens: int
    ) -> None:
        self._include_usage = include_usage
        self._prompt_tokens = prompt_tokens
        self._common = {
            "id": completion_id,
            "object": self._object,
            "created": created_s,
            "model": model,
            "service_tier": "default",
            "system_fingerprint": "fp_mock",
        }
        self._fields = b"data: %b," % json_bytes(self._common)[:-1]
        no_usage = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._before, self._after = self._fields + self._head, self._tail + no_usage
        self._no_usage = no_usage

    def first(self, token: bytes) -> bytes:
        """Return the role chunk and the first content chunk, which OpenAI sends together."""
        role = chunk(self._fields + self._role + self._no_usage) if self._role else b""
        return role + self.token(token)

    def token(self, token: bytes) -> bytes:
        """Return one content chunk."""
        return chunk(self._before + token + self._after)

    def broken(self) -> bytes:
        """Return a content event with truncated JSON."""
        return chunk(self._before + b"\n\n")

    def end(self, tokens: list[bytes], reason: str) -> bytes:
        """Return the bytes after the last token: finish chunk, usage chunk if requested, [DONE], end of the body."""
        end = chunk(self._fields + self._finish % reason.encode() + self._no_usage)
        if self._include_usage:
            end += chunk(b'%b"choices":[],"usage":%b}\n\n' % (self._fields, json_bytes(self._usage(tokens))))
        return end + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def whole(self, tokens: list[bytes], reason: str) -> bytes:
        """Return the JSON body of a response that is not streamed."""
        choice = {"index": 0, **self._content(joined(tokens)), "logprobs": None, "finish_reason": reason}
        own = {"object": self._whole_object, "choices": [choice], "usage": self._usage(tokens)}
        return json_bytes(self._common | own)

    def _content(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None, "annotations": []}}

    def _usage(self, tokens: list[bytes]) -> dict[str, int]:
        total = self._prompt_tokens + len(tokens)
        return {"prompt_tokens": self._prompt_tokens, "completion_tokens": len(tokens), "total_tokens": total}


class CompletionEvents(ChatEvents):
    """The events of the older /v1/completions."""

    _object = _whole_object = "text_completion"
    _head = b'"choices":[{"index":0,"text":"'
    _tail = b'","logprobs":null,"finish_reason":null}]'
    _finish = b'"choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"%b"}]'
    _role = b""

    def _content(self, text: str) -> dict[str, Any]:
        return {"text": text}
