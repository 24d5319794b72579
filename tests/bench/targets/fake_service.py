"""The chat services of other people in one small program: each route has one of their features.

`python fake_service.py --port PORT`; upstream: OPENAI_BASE_URL, password of /login: FAKE_PASSWORD.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qs

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

UPSTREAM = httpx.AsyncClient(base_url=os.environ.get("OPENAI_BASE_URL", ""), timeout=60)
Event = Callable[[str], str]
TOKEN = secrets.token_hex(8)


class Run:
    """One chat: a task reads the upstream into a queue, which ends with None."""

    def __init__(self, text: str, run_id: str = "", *, stream: bool = True, queued_s: float = 0.0) -> None:
        self.id = run_id or secrets.token_hex(8)
        self._queued_s = queued_s
        self.status = "running"
        self.texts: asyncio.Queue[str | None] = asyncio.Queue()
        self._body = {"model": "mock", "messages": [{"role": "user", "content": text}], "stream": stream}
        self._task = asyncio.create_task(self._ask())
        RUNS[self.id] = self

    async def _ask(self) -> None:
        try:
            await asyncio.sleep(self._queued_s)
            async with UPSTREAM.stream("POST", "chat/completions", json=self._body) as answer:
                if not self._body["stream"]:
                    self.texts.put_nowait(json.loads(await answer.aread())["choices"][0]["message"]["content"])
                    return
                async for line in answer.aiter_lines():
                    if line.startswith("data: {") and (choices := json.loads(line[6:])["choices"]):
                        self.texts.put_nowait(choices[0]["delta"].get("content") or "")
            self.status = "completed"
        finally:
            self.texts.put_nowait(None)

    def stop(self) -> bool:
        """Cancel the task; False when it has ended."""
        if self._task.done():
            return False
        self.status = "cancelled"
        return self._task.cancel()

    async def answer(self, event: Event = str, *, first: str = "", leaky: bool = False) -> AsyncIterator[str]:
        """The events of the answer. A client that leaves ends the upstream, unless `leaky`."""
        try:
            if first:
                yield first
            while (text := await self.texts.get()) is not None:
                if text:
                    yield event(text)
            if self.status == "cancelled":
                yield event("")
        finally:
            if not leaky:
                self.stop()


RUNS: dict[str, Run] = {}


def sse(text: str, end: str = "\n") -> str:
    """An event with a name and a comment before it."""
    return f": comment{end}event: delta{end}data: {json.dumps({'delta': text})}{end}{end}"


def line(text: str) -> str:
    """A line of NDJSON; the last one of a stopped answer is empty."""
    return json.dumps({"type": "delta", "delta": text} if text else {"type": "stopped"}) + "\n"


def whole(text: str) -> str:
    """An answer in one piece."""
    return json.dumps({"answer": text})


async def health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def login(request: Request) -> Response:
    known = (await request.json())["password"] == os.environ.get("FAKE_PASSWORD")
    return JSONResponse({"access": {"token": TOKEN}} if known else {"error": "wrong password"}, 200 if known else 401)


async def thread(request: Request) -> Response:
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        return JSONResponse({"error": "sign in first"}, 401)
    return JSONResponse({"thread_id": secrets.token_hex(4)}, 201)


async def signed(request: Request) -> Response:
    """The id is in a header; SSE, or a whole answer."""
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        return JSONResponse({"error": "sign in first"}, 401)
    asked = await request.json()
    run = Run(asked["message"], stream=asked["stream"])
    headers = {"X-Run": f"/threads/{request.path_params['thread']}/runs/{run.id}"}
    if asked["stream"]:
        return StreamingResponse(run.answer(sse), media_type="text/event-stream", headers=headers)
    return StreamingResponse(run.answer(whole), media_type="application/json", headers=headers)


async def queued(request: Request) -> Response:
    """The id is in the body; the answer is read by a second request, or not at all."""
    asked = await request.json()
    return JSONResponse({"run": {"id": Run(asked["message"], queued_s=asked.get("queued_s", 0.0)).id}}, 202)


async def events(request: Request) -> Response:
    run = RUNS[request.path_params["run"]]
    return StreamingResponse(run.answer(line, leaky=True), media_type="application/x-ndjson")


async def form(request: Request) -> Response:
    """A form body; the id is in the first event; lines end with CRLF."""
    run = Run(parse_qs((await request.body()).decode())["message"][0])
    first = f"event: started\r\ndata: {json.dumps({'run_id': run.id})}\r\n\r\n"
    return StreamingResponse(run.answer(lambda text: sse(text, "\r\n"), first=first), media_type="text/event-stream")


async def plain(request: Request) -> Response:
    """The client makes the id; plain text. `leaky`: the upstream outlives a client that leaves."""
    asked = await request.json()
    run = Run(asked["message"], asked["id"])
    return StreamingResponse(run.answer(leaky=asked.get("leaky", False)), media_type="text/plain")


async def deaf(request: Request) -> Response:
    """Never asks the upstream."""
    return Response(sse(f"you wrote {(await request.json())['message']}"), media_type="text/event-stream")


async def fixed(request: Request) -> Response:
    """Asks the upstream, and answers something else."""
    run = Run((await request.json())["message"])
    return StreamingResponse(run.answer(lambda _text: sse("beep")), media_type="text/event-stream")


async def unmarked(_request: Request) -> Response:
    """Asks the upstream without the user's text."""
    return StreamingResponse(Run("hello").answer(sse), media_type="text/event-stream")


async def stop(request: Request) -> Response:
    run = RUNS.get(request.path_params["run"])
    if run is None:
        return JSONResponse({"error": "unknown run"}, 404)
    return JSONResponse({"status": "stopping"}) if run.stop() else JSONResponse({"error": "it has ended"}, 409)


async def pretend(request: Request) -> Response:
    """Accepts, and the upstream goes on; at its end the state is `completed`."""
    run = RUNS.get(request.path_params["run"])
    if run is not None and run.status == "running":
        run.status = "cancelled"
    return JSONResponse({"status": "cancelled"})


async def state(request: Request) -> Response:
    return JSONResponse({"status": RUNS[request.path_params["run"]].status})


async def page(_request: Request) -> Response:
    return HTMLResponse("<!doctype html><title>Sign in</title>")


POSTED = {
    "/login": login, "/threads": thread, "/threads/{thread}/signed": signed, "/queued": queued, "/form": form,
    "/plain": plain, "/deaf": deaf, "/fixed": fixed, "/unmarked": unmarked,
    "/stop/{run}": stop, "/pretend/{run}": pretend, "/page/{run}": page,
}  # fmt: skip
READ = {"/health": health, "/events/{run}": events, "/runs/{run}": state}
app = Starlette(
    routes=[
        *(Route(path, each, methods=["POST"]) for path, each in POSTED.items()),
        *(Route(path, each) for path, each in READ.items()),
        Route("/runs/{run}", stop, methods=["DELETE"]),
    ]
)

if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, required=True)
    uvicorn.run(app, host="127.0.0.1", port=options.parse_args().port, log_level="warning")
