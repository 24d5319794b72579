"""POST /v1/embeddings: one vector per input, the same one for the same text."""

from array import array
from base64 import b64encode
from random import Random
from typing import Literal

from pydantic import Field

from mock_llm.chat import TextRequest
from mock_llm.sse import Encoder, json_bytes


class EmbeddingRequest(TextRequest):
    """The body of POST /v1/embeddings. The response is one token long: it is due after the time to the first one."""

    id_prefix = "embd-"

    input: str | list[str] | list[int] | list[list[int]] = Field(min_length=1)
    dimensions: int = Field(1536, ge=1, le=4096)
    encoding_format: Literal["float", "base64"] = "float"
    stream: Literal[False] | None = None

    def texts(self) -> list[str]:
        """Return the inputs; a list of token numbers is one text."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [" ".join(map(str, self.input))]
        return [part if isinstance(part, str) else " ".join(map(str, part)) for part in self.input]

    def limit(self) -> int:
        """Return 1."""
        return 1

    def encoder(self, response_id: str, created_s: int) -> Encoder:  # noqa: ARG002 -- embeddings have neither
        """Return the encoder of the vectors."""
        return _Vectors(self)


class _Vectors(Encoder):
    def __init__(self, request: EmbeddingRequest) -> None:
        self._request = request

    def whole(self, tokens: list[bytes], reason: str) -> bytes:  # noqa: ARG002 -- the vectors depend on the input only
        request, tokens_in = self._request, self._request.prompt_tokens()
        data = [
            {"object": "embedding", "index": index, "embedding": self._vector(text)}
            for index, text in enumerate(request.texts())
        ]
        usage = {"prompt_tokens": tokens_in, "total_tokens": tokens_in}
        return json_bytes({"object": "list", "data": data, "model": request.model, "usage": usage})

    def _vector(self, text: str) -> list[float] | str:
        # One byte per dimension: gauss() would block the loop for 1 ms per input. Near unit length, as OpenAI's.
        size = self._request.dimensions
        scale = 127.5 * (size / 3) ** 0.5
        vector = array("f", [(byte - 127.5) / scale for byte in Random(text).randbytes(size)])
        return vector.tolist() if self._request.encoding_format == "float" else b64encode(vector.tobytes()).decode()
