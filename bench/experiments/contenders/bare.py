"""The least a relay can do in Python without giving up HTTP libraries: aiohttp in, aiohttp out, bytes unread.

No abort, no checks, no events: a lower bound, not a service. Upstream: OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import os
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

from bench.experiments.contenders.calibrated import serve

UPSTREAM = web.AppKey("upstream", aiohttp.ClientSession)


async def chat(request: web.Request) -> web.StreamResponse:
    """Relay the body to the upstream, and the answer to the client, unread."""
    body = await request.read()
    url = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
    async with request.app[UPSTREAM].post(url, data=body, headers={"Content-Type": "application/json"}) as upstream:
        response = web.StreamResponse(status=upstream.status, headers={"Content-Type": upstream.content_type})
        await response.prepare(request)
        async for data in upstream.content.iter_any():
            await response.write(data)
        await response.write_eof()
    return response


async def _session(app: web.Application) -> AsyncIterator[None]:
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as app[UPSTREAM]:
        yield


if __name__ == "__main__":
    relay = web.Application()
    relay.cleanup_ctx.append(_session)
    relay.router.add_post("/chat/", chat)
    uvloop.run(serve(relay))
