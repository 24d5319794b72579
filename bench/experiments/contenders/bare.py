"""The least a relay can do in Python without giving up HTTP libraries: aiohttp in, aiohttp out, bytes unread.

No abort, no checks, no events: a lower bound, not a service. Upstream: OPENAI_BASE_URL and OPENAI_API_KEY.
"""

from functools import partial

import aiohttp
import uvloop
from aiohttp import web

from bench.experiments.contenders.calibrated import completions, serve, upstream_session


async def chat(session: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
    """Relay the body to the upstream, and the answer to the client, unread."""
    body = await request.read()
    async with session.post(completions(), data=body, headers={"Content-Type": "application/json"}) as upstream:
        response = web.StreamResponse(status=upstream.status, headers={"Content-Type": upstream.content_type})
        await response.prepare(request)
        async for data in upstream.content.iter_any():
            await response.write(data)
        await response.write_eof()
    return response


async def _main() -> None:
    async with upstream_session() as session:
        await serve([web.post("/chat/", partial(chat, session))])


if __name__ == "__main__":
    uvloop.run(_main())
