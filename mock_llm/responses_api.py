"""POST /v1/responses: the request, the events of its stream, and its object."""

from itertools import count
from typing import Any

from pydantic import Field

from mock_llm.chat import InputItem, Limit, TextRequest
from mock_llm.sse import Encoder, chunk, joined, json_bytes


class ResponsesRequest(TextRequest):
    """The body of POST /v1/responses."""

    id_prefix = "resp_"

    input: str | list[InputItem] = Field(min_length=1)
    instructions: str | None = None
    max_output_tokens: Limit = None
    background: bool | None = None

    def texts(self) -> list[str]:
        """Return the instructions and the texts of the input."""
        inputs = [self.input] if isinstance(self.input, str) else [item.text() for item in self.input]
        return [self.instructions or "", *inputs]

    def limit(self) -> int | None:
        """Return the client's limit."""
        return self.max_output_tokens

    def in_background(self) -> bool:
        """Return the client's choice."""
        return bool(self.background)

    def encoder(self, response_id: str, created_s: int) -> "ResponsesEvents":
        """Return the encoder of the events and of the object."""
        return ResponsesEvents(self, response_id, created_s)


class ResponsesEvents(Encoder):
    """The events of one response, numbered as OpenAI does."""

    def __init__(self, request: ResponsesRequest, response_id: str, created_s: int) -> None:
        self._request = request
        self._object = {
            "id": response_id,
            "object": "response",
            "created_at": created_s,
            "model": request.model,
            "background": request.in_background(),
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "error": None,
        }
        self._item_id = response_id.replace("resp_", "msg_", 1)
        self._numbers = count()
        self._place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        self._delta = json_bytes(self._place)[1:-1]
        status = "queued" if request.in_background() else "in_progress"
        self.opening = self._event("created", response=self.object(status, []))
        self.opening += self._event("in_progress", response=self.object("in_progress", []))

    def first(self, token: bytes) -> bytes:
        """Return the events that add the message and its text, and the first delta."""
        item = self._item([], "in_progress") | {"content": []}
        added = self._event("output_item.added", output_index=0, item=item)
        return added + self._event("content_part.added", **self._place, part=self._part("")) + self.token(token)

    def token(self, token: bytes) -> bytes:
        """Return one delta event."""
        return chunk(b'%b"logprobs":[],"delta":"%b"}\n\n' % (self._delta_head(), token))

    def broken(self) -> bytes:
        """Return a delta event with truncated JSON."""
        return chunk(self._delta_head() + b'"delta":"\n\n')

    def end(self, tokens: list[bytes], reason: str) -> bytes:
        """Return the events that end the text, the message and the response, and the end of the body."""
        text, status = joined(tokens), final_status(reason)
        end = self._event("output_text.done", **self._place, text=text, logprobs=[])
        end += self._event("content_part.done", **self._place, part=self._part(text))
        end += self._event("output_item.done", output_index=0, item=self._item(tokens, status))
        return end + self._event(status, response=self.object(status, tokens)) + b"0\r\n\r\n"

    def whole(self, tokens: list[bytes], reason: str) -> bytes:
        """Return the JSON body of a response that is not streamed."""
        return json_bytes(self.object(final_status(reason), tokens))

    def object(self, status: str, tokens: list[bytes]) -> dict[str, Any]:
        """Return the response object with the text of `tokens`."""
        ended = status in ("completed", "incomplete")
        details = {"reason": "max_output_tokens"} if status == "incomplete" else None
        item_status = status if ended else "incomplete"
        output = [self._item(tokens, item_status)] if tokens else []
        usage = self._usage(len(tokens)) if ended else None
        return self._object | {"status": status, "incomplete_details": details, "output": output, "usage": usage}

    def _usage(self, tokens: int) -> dict[str, Any]:
        prompt = self._request.prompt_tokens()
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + tokens,
        }

    def _item(self, tokens: list[bytes], status: str) -> dict[str, Any]:
        content = [self._part(joined(tokens))]
        return {"id": self._item_id, "type": "message", "role": "assistant", "status": status, "content": content}

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def _delta_head(self) -> bytes:
        name = b"response.output_text.delta"
        return b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b,' % (
            name, name, next(self._numbers), self._delta,
        )  # fmt: skip

    def _event(self, name: str, **fields: Any) -> bytes:
        body = {"type": f"response.{name}", "sequence_number": next(self._numbers), **fields}
        return chunk(b"event: response.%b\ndata: %b\n\n" % (name.encode(), json_bytes(body)))


def final_status(reason: str) -> str:
    """Return the status of a response that was not stopped; `reason` is stop or length."""
    return "completed" if reason == "stop" else "incomplete"
