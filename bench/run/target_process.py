"""Start what a target file describes, wait until it answers, and make its set-up requests."""

import contextlib
import http.client
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.run.target_setup import install as run_setup
from bench.system.embedded import free_port, temporary_folder
from bench.system.environment import clean
from bench.system.procs import Child, ChildError
from bench.system.stores import Store
from bench.targets.files import MOCK, Contender, environment_of
from bench.targets.install import names, venv
from bench.targets.model import Call, Process
from bench.targets.requests import Encoder, Finder, document_of
from bench.targets.templates import RenderError, render

POLL_S = 0.1
TIMEOUT_S = 20.0


@dataclass
class Attached:
    """A service that somebody else has started: nothing is known of its processes."""

    url: str
    name: str = "the attached service"
    pid: int | None = None

    def check(self) -> None:
        """Nothing to look at."""

    def cpu_s(self) -> float:
        """Unknown; readers look at `pid`, which is None."""
        return 0.0


@dataclass
class Target:
    """A running target: `values` are for the templates of its chats."""

    service: Child | Attached
    values: dict[str, Any] = field(default_factory=dict)
    version: str | None = None


@contextlib.contextmanager
def started(
    contender: Contender,
    *,
    mock: str,
    stores: Mapping[str, Store],
    log: Path,
    url: str | None = None,
    here: Path | None = None,
    namespace: str = "stopwatch_bench",
) -> Iterator[Target]:
    """Run a target within the block, or use the one at `url`. Raises ChildError when it cannot be started or set up.

    `here`: the folder that {{here}} stands for, in another checkout than that of the target file.
    """
    target = contender.target
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(temporary_folder("target"))
        values = {
            **contender.service_vars,
            **places(contender, here or contender.file.parent),
            **_stores(contender, stores),
            "env": environment_of(target, contender.file),
            "mock": mock,
            "work": str(work),
            "namespace": namespace,
        }
        if target.name == MOCK:
            url = mock
        if url is not None:
            running = Target(Attached(url.rstrip("/")), {**values, "url": url.rstrip("/")})
        elif target.process is None:
            raise ChildError(f"target {target.name} has no [process]: start it yourself, and give its address by --url")
        else:
            running = stack.enter_context(_process(contender, target.process, values, work, log))
        try:
            running.values["setup"] = {}
            for name, call in target.setup.items():
                found = _call(running, f"setup.{name}", call)
                running.values["setup"][name] = found
        except RenderError as error:
            raise ChildError(f"target {target.name}: {error}") from error
        yield running


@contextlib.contextmanager
def _process(contender: Contender, process: Process, values: dict[str, Any], work: Path, log: Path) -> Iterator[Target]:
    port, here = free_port(), Path(values["here"])
    values = {**values, "port": port, "url": f"http://127.0.0.1:{port}"}
    if process.setup:
        values |= run_setup(process, here, values, log.with_suffix(".setup.log"), contender.target.name)
    try:
        for name, source in process.files.items():
            _write(work / name, contender.file.parent / source, values)
        argv = [render(each, values) for each in process.argv]
        env = {name: render(text, values) for name, text in process.env.items()}
        version = _version([render(each, values) for each in process.version or ()], work, {**clean(), **env})
        path, folder = render(process.ready.path, values), here / render(process.folder, values)
    except (OSError, RenderError) as error:
        raise ChildError(f"target {contender.target.name} cannot be started: {error}") from error
    if shutil.which(argv[0], path=clean().get("PATH")) is None:
        product = contender.target.install or contender.file.stem
        remedy = f"make target NAME={product}" if product in names() else "process.argv names a program on the PATH"
        raise ChildError(f"target {contender.target.name} is not installed ({argv[0]} is missing): {remedy}")
    if not folder.is_dir():
        raise ChildError(f"target {contender.target.name} cannot be started: process.folder: no folder {folder}")
    child = Child(contender.service, (), log, argv=argv, env=env, folder=folder, ready=process.ready.line)
    child.deadline_s = process.ready.within_s
    with child:
        if process.ready.line:
            values["url"] = child.url
        else:
            child.url = values["url"]
            _wait_ready(child, path, process.ready.within_s)
        yield Target(child, values, version)


def places(contender: Contender, here: Path) -> dict[str, Any]:
    """The variables that are the same for every start of a target; `here` is the folder of its file, or its copy."""
    folder = venv(contender.target.install or contender.file.stem)
    return {
        "venv": str(folder),
        "npm": str(folder / "node_modules"),
        "python": sys.executable,
        "here": str(here.resolve()),
        "secret": secrets.token_hex(16),
        "workers": 1,
    }


def _stores(contender: Contender, stores: Mapping[str, Store]) -> dict[str, Any]:
    """Addresses of the stores; for our own service also its ABORT_BACKEND."""
    found: dict[str, Any] = {f"{kind}_url": store.url for kind, store in stores.items()}
    if delivery := contender.service_vars.get("delivery"):
        kind = str(contender.service_vars["store"])
        found["abort_backend"] = stores[kind].strategy_url(str(delivery)) if kind in stores else f"{kind}+{delivery}://"
    if "redis" in stores:
        found["redis_port"] = urlsplit(stores["redis"].url).port or 6379
    return found


def _write(place: Path, source: Path, values: Mapping[str, Any]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".j2":
        place.write_text(render(source.read_text(encoding="utf-8"), values), encoding="utf-8")
    else:
        shutil.copyfile(source, place)


def _version(argv: list[str], work: Path, env: Mapping[str, str]) -> str | None:
    """What the target's version command prints last, None without one that works."""
    if not argv:
        return None
    try:
        done = subprocess.run(argv, cwd=work, env=env, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout.strip().splitlines() or [""])[-1][:80] or None


def _wait_ready(child: Child, path: str, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    netloc = urlsplit(child.url).netloc
    while True:
        child.check()
        try:
            exchange(child.url, f"GET {path} HTTP/1.1\r\nHost: {netloc}\r\nConnection: close\r\n\r\n".encode(), 2.0)
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise child.failure(f"was not ready after {within_s:g} s: GET {path} had no answer") from None
            time.sleep(POLL_S)
        else:
            return


def exchange(url: str, request: bytes, timeout_s: float = TIMEOUT_S) -> tuple[http.client.HTTPResponse, bytes]:
    """Send an encoded request and read its answer. Raises OSError, http.client.HTTPException."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 80), timeout_s) as connection:
        connection.sendall(request)
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            return response, response.read()


def _call(running: Target, place: str, call: Call) -> Any:
    """Make one request of the set-up. Returns its value, None when it has none."""
    request = Encoder(call).encode(urlsplit(running.values["url"]).netloc, running.values)
    try:
        response, body = exchange(running.values["url"], request)
    except (OSError, http.client.HTTPException) as error:
        raise ChildError(f"{place} had no answer: {type(error).__name__}: {error}") from error
    if response.status >= 400:
        raise ChildError(f"{place} was answered with HTTP {response.status}: {body[:100]!r}")
    if call.value is None:
        return None
    finder = Finder(call.value)
    found = finder.in_headers(response.getheader) or finder.in_document(document_of(body))
    if found is None:
        raise ChildError(f"{place}: its value was not found in the answer: {body[:100]!r}")
    return found
