"""The chat request, validated as OpenAI does, and errors in OpenAI's format."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class ApiError(Exception):
    """An error response in OpenAI's JSON format; `headers` are complete lines such as `retry-after: 1`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self._error = {"message": message, "type": kind, "param": param, "code": code}

    def body(self) -> bytes:
        """Return the JSON body."""
        return json.dumps({"error": self._error}).encode()


class _Lenient(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")  # OpenAI's other parameters are ignored


class ContentPart(_Lenient):
    """A part of a message; only text is used."""

    type: str
    text: str = ""


class Message(_Lenient):
    """One message of the conversation."""

    role: Role
    content: str | list[ContentPart] | None = None

    def text(self) -> str:
        """Return the message's text, its parts joined."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(_Lenient):
    """OpenAI's `stream_options`."""

    include_usage: bool | None = None


_Limit = Annotated[int, Field(ge=1)] | None


class ChatRequest(_Lenient):
    """The body of POST /v1/chat/completions; only parameters that change the response."""

    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: _Limit = None
    max_completion_tokens: _Limit = None
    n: Literal[1] | None = None
    seed: int | None = None

    @model_validator(mode="after")
    def _options_need_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
        return self

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def limited(self, output_tokens: int) -> int:
        """Return the number of tokens of the response: `output_tokens`, or the client's lower limit."""
        return min(output_tokens, self.max_completion_tokens or self.max_tokens or output_tokens)

    def usage(self, completion_tokens: int) -> dict[str, int]:
        """Return OpenAI's usage object; one prompt token per word."""
        prompt_tokens = sum(len(message.text().split()) for message in self.messages)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }


def parse_chat(body: bytes) -> ChatRequest:
    """Parse the body of a chat request; raises ApiError 400 that names the invalid parameter."""
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        problem: Any = error.errors(include_url=False, include_context=False)[0]
    param = ".".join(str(part) for part in problem["loc"]) or None
    if problem["type"] == "json_invalid":
        raise ApiError(400, f"We could not parse the JSON body of your request. ({problem['msg']})")
    if problem["type"] == "missing":
        message = f"Missing required parameter: '{param}'."
        raise ApiError(400, message, param=param, code="missing_required_parameter")
    message = problem["msg"].removeprefix("Value error, ")
    raise ApiError(400, f"Invalid '{param}': {message}" if param else message, param=param, code="invalid_value")
