"""Each shipped target file renders the requests, and understands the answers, of a recorded conversation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.load.order import order_of
from bench.load.wire import Answer
from bench.targets.expressions import search
from bench.targets.files import FOLDER, MOCK, OURS, contenders, read_target, shipped
from bench.targets.model import Request, Stream, Target
from bench.targets.requests import Encoder, Finder
from bench.targets.templates import unknown_names
from bench.workload.plan import Case
from bench.workload.scenario import load_scenarios

RECORDED = Path(__file__).parent / "recorded"
NAMES = sorted(path.stem for path in RECORDED.glob("*.json"))
MASKED = {name: f"{{{{{name}}}}}" for name in ("mock", "url", "secret", "id", "uuid", "text")}
FIRST_AND_LAST = ("from", "small")
"""Words of the mock's answer of five tokens; the events in the middle of an answer are not recorded."""
ACCEPT_UNKNOWN = {"agno", "gradio"}
"""Products that answer 200 to the stop of an unknown id."""
ACCEPT_LATE = {"agno", "gradio", "litellm-background"}
"""Products that answer 200 to the stop of a chat that has ended; the latter calls it cancelled then."""

Exchange = dict[str, Any]


class Replay:
    """Render and read the exchanges of one recorded conversation, in their order."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.values: dict[str, Any] = {**MASKED, **target.vars, "setup": {}, "prepare": {}, "ids": {}}

    def request_of(self, exchange: Exchange) -> Request:
        kind, _, name = exchange["name"].partition(".")
        way = name.partition(".")[0]
        found: dict[str, Any] = {"start": self.target.start, "stream": self.target.stream, **self._named(kind, way)}
        request: Request = found[kind]
        return request

    def _named(self, kind: str, name: str) -> dict[str, Request | None]:
        match kind:
            case "setup":
                return {kind: self.target.setup[name]}
            case "prepare":
                return {kind: self.target.prepare[name]}
            case "stop":
                return {kind: self.target.stop[name]}
            case "state":
                return {kind: self.target.stop[name].state}
            case _:
                return {}

    def rendered(self, exchange: Exchange) -> dict[str, Any]:
        """The request, as it is recorded."""
        values = {**self.values, "stream": exchange["chat"] != "whole"}
        if stop := self.target.stop.get(exchange["chat"]):
            values |= stop.vars
        if exchange["chat"] == "unknown":
            values["ids"] = {name: value[:-6] + "000000" for name, value in values["ids"].items()}
        head, _, body = Encoder(self.request_of(exchange)).encode("host", values).partition(b"\r\n\r\n")
        line, *rest = head.decode().split("\r\n")
        method, path, _version = line.split(" ")
        headers = dict(each.split(": ", 1) for each in rest)
        sent: dict[str, Any] = {"method": method, "path": path}
        sent["headers"] = {k: v for k, v in headers.items() if k not in ("Host", "Connection", "Content-Length")}
        if body:
            sent["body"] = json.loads(body) if "json" in headers["Content-Type"] else body.decode()
        return sent

    def keep(self, exchange: Exchange) -> None:
        """Take the values out of an answer that later requests need."""
        kind, _, name = exchange["name"].partition(".")
        if kind in ("setup", "prepare"):
            value = (self.target.setup if kind == "setup" else self.target.prepare)[name].value
            if value is not None:
                self.values[kind][name] = found = Finder(value).in_document(exchange["body"])
                assert found is not None, exchange["name"]
        if kind == "start" and self.target.start:
            self.values["ids"] = {}
            documents = [*events(exchange, self.target.stream), exchange.get("body")]
            for each, value in self.target.start.ids.items():
                finder = Finder(value)
                found = [finder.in_headers(lambda header: exchange["headers"].get(header.lower()))]
                found += [finder.in_document(document) for document in documents if value.header is None]
                self.values["ids"][each] = next(one for one in found if one is not None)


class Recording:
    """A socket from which an answer is read."""

    def __init__(self, body: str, kind: str) -> None:
        content = body.encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
        self.left = head.encode() + content

    def recv(self, size: int) -> bytes:
        data, self.left = self.left[:size], self.left[size:]
        return data


def events(exchange: Exchange, stream: Stream) -> list[Any]:
    """The events of an answer as the load decodes them."""
    lines = exchange.get("events", [])
    if not lines or not isinstance(lines[0], str):
        return list(lines)  # of a driver
    answer = Answer(Recording("".join(lines), "any"), 4096, stream.framing)
    found: list[Any] = []
    while not answer.message_complete:
        answer.receive()
        found += answer.events()
    return found


def conversation(name: str) -> list[Exchange]:
    loaded: list[Exchange] = json.loads((RECORDED / f"{name}.json").read_text())
    return loaded


def test_each_product_has_a_recording() -> None:
    assert set(shipped()) - {OURS, MOCK} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_renders_the_recorded_requests(name: str) -> None:
    target, _file = read_target(name)
    replay = Replay(target)
    for exchange in conversation(name):
        if "request" in exchange:
            assert replay.rendered(exchange) == exchange["request"], exchange["name"]
            replay.keep(exchange)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_understands_the_recorded_answers_to_a_stop(name: str) -> None:
    target, _file = read_target(name)
    seen = set()
    for exchange in conversation(name):
        kind, way, *when = exchange["name"].split(".")[:1] + (exchange["name"].split(".")[1:] or [""])
        if kind != "stop":
            continue
        stop, answer = target.stop[way], {"status": exchange["status"], "body": exchange["body"]}
        accepted, unknown = bool(search(stop.accepted)(answer)), bool(search(stop.unknown)(answer))
        case = when[0] if when else ""
        lenient = {"unknown": ACCEPT_UNKNOWN, "late": ACCEPT_LATE}
        assert accepted != unknown, exchange["name"]
        assert accepted == (name in lenient[case]) if case in lenient else accepted or case == "again", exchange["name"]
        seen.add((way, case))
    ways = [way for way, stop in target.stop.items() if stop.kind == "request"]
    assert seen == {(way, case) for way in ways for case in ("", "again", "late", "unknown")}


@pytest.mark.parametrize("name", NAMES)
def test_the_file_understands_the_recorded_events(name: str) -> None:
    target, _file = read_target(name)
    stream = target.stream
    if stream.framing == "none":
        return
    ways = [way for way, stop in target.stop.items() if stop.kind != "hangup"]
    for exchange in conversation(name):
        found = events(exchange, stream)
        if not found:
            continue
        chat = exchange["chat"]
        assert not any(search(stream.error)(event) for event in found)
        if chat == "natural" and stream.token is not None:
            assert any(search(stream.token)(event) for event in found)
        if chat in ("natural", "whole"):
            assert all(word in str(found) for word in FIRST_AND_LAST)
            assert stream.reason is None or search(stream.reason)(found[-1]) == "stop"
        if stream.aborted is not None:
            assert any(search(stream.aborted)(event) for event in found) == (chat in ways)
        if stream.ended is not None:
            assert any(search(stream.ended)(event) for event in found)


def test_a_cancelled_response_of_litellm_does_not_stay_cancelled() -> None:
    target, _file = read_target("litellm-background")
    state = target.stop["cancel"].state
    assert state is not None
    states = {
        each["name"]: search(state.value)(each["body"])
        for each in conversation("litellm-background")
        if each["name"].startswith("state") and each["chat"] == "cancel"
    }
    assert states == {"state.cancel": "cancelled", "state.cancel.later": "completed"}
    assert state.honest == ["cancelled"]


@pytest.mark.parametrize("name", ["langgraph", "llama-agents"])
def test_a_stopped_chat_is_in_an_honest_state(name: str) -> None:
    target, _file = read_target(name)
    found = 0
    for exchange in conversation(name):
        if exchange["name"].startswith("state.") and exchange["chat"] in target.stop:
            state = target.stop[exchange["chat"]].state
            assert state is not None
            assert search(state.value)(exchange["body"]) in state.honest
            found += 1
    assert found


@pytest.mark.parametrize("name", NAMES)
def test_the_files_of_a_process_exist_and_render(name: str) -> None:
    target, file = read_target(name)
    assert target.process is not None
    known = {"mock", "redis_port", *target.vars}
    for source in target.process.files.values():
        text = (FOLDER / source).read_text()
        assert file.parent == FOLDER
        assert not source.endswith(".j2") or unknown_names(text, known, {}) == []


def test_a_way_to_stop_has_variables_of_its_own() -> None:
    (contender,) = contenders("langgraph/hangup-cancel")
    case = Case(contender.name, load_scenarios(["flowing"])[0], 1, contender)
    order = order_of(case, "http://127.0.0.1:1", contender.service_vars, "http://127.0.0.1:2")
    assert contender.service_vars["on_disconnect"] == "continue"
    assert order.values["on_disconnect"] == "cancel"
