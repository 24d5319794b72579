"""The least a relay can do in Python without giving up HTTP libraries: aiohttp in, aiohttp out, bytes unread.

No abort, no checks, no events: a floor, not a service. Upstream: OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

UPSTREAM = web.AppKey("upstream", aiohttp.ClientSession)


async def chat(request: web.Request) -> web.StreamResponse:
    """Pass the body on as it is, and the answer back as it comes."""
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


async def _serve() -> None:
    app = web.Application()
    app.cleanup_ctx.append(_session)
    app.router.add_post("/chat/", chat)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    host, port = runner.addresses[0][:2]
    sys.stdout.write(f"ready http://{host}:{port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
