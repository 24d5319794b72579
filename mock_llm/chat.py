"""Requests of (chat) completions, validated as OpenAI does, and errors in OpenAI's format."""

import json
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mock_llm.sse import ChatEvents, CompletionEvents, Encoder

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


class Lenient(BaseModel):
    """A strict model that ignores unknown fields."""

    model_config = ConfigDict(strict=True, extra="ignore")  # OpenAI's other parameters are ignored


class ContentPart(Lenient):
    """A part of a message; only text is used."""

    type: str
    text: str = ""


class InputItem(Lenient):
    """A part of the conversation; only the text of messages is used."""

    content: str | list[ContentPart] | None = None

    def text(self) -> str:
        """Return the message's text, its parts joined."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class Message(InputItem):
    """One message of a chat."""

    role: Role


class StreamOptions(Lenient):
    """OpenAI's `stream_options`."""

    include_usage: bool | None = None


Limit = Annotated[int, Field(ge=1)] | None


class TextRequest(Lenient, ABC):
    """What all requests have in common; only parameters that change the response."""

    id_prefix: ClassVar[str]

    model: str = Field(min_length=1)
    stream: bool | None = None
    seed: int | None = None

    @abstractmethod
    def texts(self) -> list[str]:
        """Return the texts of the prompt; the last one may contain markers."""

    @abstractmethod
    def limit(self) -> int | None:
        """Return the client's limit of tokens."""

    @abstractmethod
    def encoder(self, response_id: str, created_s: int) -> Encoder:
        """Return the encoder of the response."""

    def limited(self, output_tokens: int) -> int:
        """Return the number of tokens of the response: `output_tokens`, or the client's lower limit."""
        return min(output_tokens, self.limit() or output_tokens)

    def in_background(self) -> bool:
        """Return whether the response continues without its connection."""
        return False

    def prompt_tokens(self) -> int:
        """Return one token per word."""
        return sum(len(text.split()) for text in self.texts())


class _Completion(TextRequest):
    stream_options: StreamOptions | None = None
    max_tokens: Limit = None
    n: Literal[1] | None = None
    _events: ClassVar[type[ChatEvents]]

    @model_validator(mode="after")
    def _options_need_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
        return self

    def limit(self) -> int | None:
        return self.max_tokens

    def encoder(self, response_id: str, created_s: int) -> Encoder:
        usage = self.stream_options is not None and bool(self.stream_options.include_usage)
        tokens = self.prompt_tokens()
        return self._events(response_id, created_s, self.model, include_usage=usage, prompt_tokens=tokens)


class ChatRequest(_Completion):
    """The body of POST /v1/chat/completions."""

    id_prefix = "chatcmpl-"
    _events = ChatEvents

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: Limit = None

    def texts(self) -> list[str]:
        """Return the texts of the messages."""
        return [message.text() for message in self.messages]

    def limit(self) -> int | None:
        """Return the newer name's limit, or the older one's."""
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(_Completion):
    """The body of POST /v1/completions; one prompt only."""

    id_prefix = "cmpl-"
    _events = CompletionEvents

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)] | Annotated[list[int], Field(min_length=1)]

    def texts(self) -> list[str]:
        """Return the prompt; token numbers count as words."""
        return [self.prompt] if isinstance(self.prompt, str) else [str(part) for part in self.prompt]


_Kind = TypeVar("_Kind", bound=TextRequest)


def parse(kind: type[_Kind], body: bytes) -> _Kind:
    """Parse the body of a request; raises ApiError 400 that names the invalid parameter."""
    try:
        return kind.model_validate_json(body)
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
