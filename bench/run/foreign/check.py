"""Check a running target before anything is measured: a natural chat, and the stop card of each way to stop it."""

import hashlib
import re
import secrets
from collections.abc import Sequence

import msgspec

from bench.load.driver import Load
from bench.load.order import Order, OrderedChat, order_of
from bench.record.join import join
from bench.record.manifest import TargetInfo
from bench.record.schema import CaseHead, ChatRow
from bench.record.settle import settled
from bench.record.traces import JournalRow
from bench.run.foreign.card import CARD, NATURAL, CardRow, Situation, applies, judge
from bench.run.target_process import Attached, Target, exchange
from bench.system.http import request_json
from bench.system.procs import Child, ChildError
from bench.targets.files import MOCK, Contender, read_target
from bench.targets.requests import Encoder
from bench.workload.plan import Case
from bench.workload.scenario import Scenario

DEADLINE_S = 60.0
WARM_UP = 4


def describe_target(contender: Contender, target: Target) -> TargetInfo:
    """The target in the manifest. Secrets are only in the environment, and never here."""
    described = contender.target
    return TargetInfo(
        title=described.title or described.name,
        version=target.version,
        variables=contender.service_vars,
        stops={name: dict(stop.vars) for name, stop in described.stop.items() if stop.vars},
        note=described.note,
        docs=described.docs,
        file=contender.file.name,
        sha256=hashlib.sha256(contender.file.read_bytes()).hexdigest(),
        streams=described.stream.framing != "none",
        attached=isinstance(target.service, Attached),
        never=[name for name, stop in described.stop.items() if stop.expect == "never"],
    )


class Checker:
    """Sends single chats to a running target through the load."""

    def __init__(self, mock: Child, load: Load, target: Target, contender: Contender) -> None:
        self._mock, self._load, self._target, self._contender = mock, load, target, contender
        self._journal: list[JournalRow] = []

    def natural(self) -> ChatRow:
        """Chat once to the natural end. Raises ChildError unless the client read the mock's own text."""
        (row,) = self._send([Situation("natural end", NATURAL, None)])
        name, client, witness = self._contender.name, row.client, row.witness
        seen = " ".join((client.text or client.error or f"HTTP {client.status} and nothing").split())[:160]
        if witness is None:
            raise self._unfit(f"{name}: {self._unseen()}; the client saw: {seen}")
        if witness.outcome != "finished":
            raise self._unfit(f"{name}: the upstream of a natural chat was {witness.outcome}; the client saw: {seen}")
        if self._contender.target.stream.framing == "none":
            return row
        if client.error or missing(self._expected(row.request_id), client.text or ""):
            raise self._unfit(f"{name}: the client of a natural chat did not read the upstream's text; it saw: {seen}")
        if self._contender.target.stream.token and not client.token_ns:
            expression = self._contender.target.stream.token
            raise self._unfit(f"{name}: stream.token {expression!r} matched no event; the client saw: {seen}")
        return row

    @property
    def correlation(self) -> str:
        """What named the last chat at the mock: `header`, `marker`, or nothing."""
        return self._journal[0].id_from if self._journal else ""

    def _unseen(self) -> str:
        """Why the mock has no row of a natural chat."""
        if not self._journal:
            return f"a natural chat never reached the upstream at {self._mock.url}/v1"
        first = self._journal[0]
        if first.id_from:
            return f"the upstream was asked with a foreign id, {first.id!r} in its {first.id_from}"
        return "the upstream was asked without the marker [bench:ID] of the message and without its id in X-Request-Id"

    def warm_up(self) -> None:
        """Stop some chats. Raises ChildError when none of them stopped, unless that is documented."""
        self._require_effect(self._send([CARD[1]] * WARM_UP))

    def _require_effect(self, rows: Sequence[ChatRow]) -> None:
        if self._contender.stop.expect == "never" or any(row.witness and row.witness.outcome == "cut" for row in rows):
            return
        if "flowing" not in (self._contender.stop.situations or ("flowing",)):
            return
        sent = [row.abort for row in rows if row.abort and row.abort.sent_ns]
        if sent and (self._contender.stop.kind != "request" or any(abort.accepted_sent_ns for abort in sent)):
            return  # accepted or hung up, and the upstream ran on: a finding, not a fault of the file
        last = rows[-1].abort
        answer = last and (last.error or f"HTTP {last.status}, {last.outcome}")
        raise self._unfit(f"{self._contender.name}: no chat was stopped; the stop was answered with: {answer}")

    def card(self) -> list[CardRow]:
        """All situations at once, each with a chat of its own. Raises ChildError like `warm_up`."""
        situations = [each for each in CARD if applies(self._contender.stop, each)]
        rows = self._send(situations)
        if flowing := [row for each, row in zip(situations, rows, strict=True) if each is CARD[1]]:
            self._require_effect(flowing)
        return [judge(self._contender, each, row) for each, row in zip(situations, rows, strict=True)]

    def _send(self, situations: Sequence[Situation]) -> list[ChatRow]:
        token = secrets.token_hex(3)
        ids = [f"check-{token}-{number}" for number in range(len(situations))]
        chats = [
            OrderedChat(
                index=number, request_id=ids[number], abort_after_ms=each.stop_ms, marker=f"[mock:{each.marker}]",
                stream=each.stream, again=each.again, unknown=each.unknown, at_ms=100.0 * number,
            )
            for number, each in enumerate(situations)
        ]  # fmt: skip
        order = self._order()
        order.streams = len(chats)
        request_json(self._mock.url, "/__mock/journal", "DELETE")
        beside = (self._mock, self._target.service)
        loaded = self._load.execute(order, chats, deadline_s=DEADLINE_S, beside=beside)
        # A service without a stream answers before it asks its upstream.
        expects = len([each for each in situations if each.stop_ms is None])
        self._journal, _traces = settled(self._mock.url, None, loaded.rows, expects=expects)
        if len(loaded.rows) < len(chats):
            raise self._unfit("the load did not send all chats; its log is locust-0.log")
        head = CaseHead(strategy=self._contender.name, scenario="check", workers=1, streams=len(chats), block=0)
        return join(head, loaded.rows, (), self._journal)

    def _order(self) -> Order:
        scenario = Scenario("check", "", 50, 20, 12, streams=8, chats=8)
        case = Case(self._contender.name, scenario, 1, self._contender)
        order = order_of(case, self._target.service.url, self._target.values, self._mock.url)
        return msgspec.structs.replace(order, keep_text=True, again_ms=300.0)

    def _expected(self, request_id: str) -> str:
        """The text that the mock wrote to this chat: the same settings and seed give it again."""
        start = read_target(MOCK)[0].start
        assert start is not None  # noqa: S101 - our own file
        request = Encoder(start).encode(
            "mock", {"id": f"{request_id}-again", "text": f"[mock:{NATURAL}]", "stream": False}
        )
        _response, body = exchange(self._mock.url, request)
        return str(msgspec.json.decode(body)["choices"][0]["message"]["content"])

    def _unfit(self, text: str) -> ChildError:
        service = self._target.service
        return service.failure(f"cannot be measured: {text}") if isinstance(service, Child) else ChildError(text)


def verify(mock: Child, load: Load, target: Target, contender: Contender) -> None:
    """Refuse to measure a target whose natural chat fails or whose stops cannot be sent. Raises ChildError."""
    checker = Checker(mock, load, target, contender)
    checker.natural()
    checker.warm_up()


def missing(expected: str, seen: str) -> str | None:
    """The first word of `expected` that is not in `seen` after the words before it; None when all are."""
    place = 0
    for word in expected.split():
        match = re.compile(re.escape(word)).search(seen, place)
        if match is None:
            return word
        place = match.end()
    return None
