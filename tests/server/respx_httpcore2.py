"""respx, made to see the transport that openai 3.x uses: no network."""

from typing import Any, ClassVar

import httpcore2
import httpx
from respx.mocks import HTTPCoreMocker


class HTTPCore2Mocker(HTTPCoreMocker):
    """respx patches httpcore; openai 3.x is on httpx2, which is on httpcore2."""

    name = "httpcore2"
    targets: ClassVar[list[str]] = [target.replace("httpcore.", "httpcore2.") for target in HTTPCoreMocker.targets]

    @classmethod
    def from_sync_httpx_response(cls, httpx_response: httpx.Response, target: Any, **_: Any) -> httpcore2.Response:  # noqa: ARG003 - respx's signature
        return httpcore2.Response(
            status=httpx_response.status_code, headers=httpx_response.headers.raw, content=httpx_response.stream
        )

    @classmethod
    async def from_async_httpx_response(
        cls, httpx_response: httpx.Response, target: Any, **_: Any
    ) -> httpcore2.Response:
        return cls.from_sync_httpx_response(httpx_response, target)
