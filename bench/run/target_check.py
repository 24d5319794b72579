"""Check a running target before anything is measured: a natural chat, and the stop card of each way to stop it."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from bench.analysis.chat_outcome import upstream_open_s
from bench.load.driver import Load, order_of
from bench.load.order import Order, OrderedChat
from bench.record.join import join
from bench.record.manifest import TargetInfo
from bench.record.schema import CaseHead, ChatRow
from bench.record.settle import settled
from bench.run.target_process import Attached, Target, exchange
from bench.system.http import request_json
from bench.system.procs import Child, ChildError
from bench.targets.files import MOCK, Contender, read_target
from bench.targets.model import Request
from bench.targets.requests import Encoder
from bench.workload.plan import Case
from bench.workload.scenario import Scenario

NATURAL = "ttft_ms=50,itl_ms=20,output_tokens=12"
ANSWER_MS = 3000
DEADLINE_S = 60.0
WARM_UP = 4


@dataclass(frozen=True)
class Situation:
    """A row of the card: how the mock answers, and when the chat is stopped (ms after the mock received it).

    `like`: the scenarios that it is a short form of; a stop that names its situations exists in those only.
    """

    name: str
    marker: str
    stop_ms: float | None
    like: tuple[str, ...] = ("flowing", "flowing-long")
    stream: bool = True
    again: bool = False
    unknown: bool = False


CARD = (
    Situation("natural end", NATURAL, None),
    Situation("in the flow", f"ttft_ms=50,itl_ms=20,output_tokens={ANSWER_MS // 20}", 500),
    Situation(
        "in a silence",
        f"ttft_ms=50,itl_ms=20,output_tokens=30,stall_at=15,stall_ms={ANSWER_MS}",
        800,
        ("stalled", "stalled-long"),
    ),
    Situation(
        "before the first byte",
        f"ttft_ms={ANSWER_MS},itl_ms=20,output_tokens=15",
        500,
        ("never-started", "first-token"),
    ),
    Situation("not streamed", f"ttft_ms=50,itl_ms=20,output_tokens={ANSWER_MS // 20}", 500, ("whole",), stream=False),
    Situation("a second time", f"ttft_ms=50,itl_ms=20,output_tokens={ANSWER_MS // 20}", 500, again=True),
    Situation("after the end", NATURAL, 1500),
    Situation("an unknown id", NATURAL, 0, unknown=True),
)


@dataclass(frozen=True)
class CardRow:
    """What one situation showed; `verdict` is empty where there is nothing to judge."""

    situation: str
    answer: str
    upstream: str
    tokens_after: int | None
    verdict: str


def describe_target(contender: Contender, target: Target) -> TargetInfo:
    """The target in the manifest. Secrets are only in the environment, and never here."""
    described = contender.target
    return TargetInfo(
        title=described.title or described.name,
        version=target.version,
        variables=contender.service_vars,
        docs=described.docs,
        file=contender.file.name,
        sha256=hashlib.sha256(contender.file.read_bytes()).hexdigest(),
        attached=isinstance(target.service, Attached),
        never=[name for name, stop in described.stop.items() if stop.expect == "never"],
    )


class Checker:
    """Sends single chats to a running target through the load."""

    def __init__(self, mock: Child, load: Load, target: Target, contender: Contender) -> None:
        self._mock, self._load, self._target, self._contender = mock, load, target, contender

    def natural(self) -> ChatRow:
        """Chat once to the natural end. Raises ChildError unless the client read the mock's own text."""
        (row,) = self._send([Situation("natural end", NATURAL, None)])
        name, client, witness = self._contender.name, row.client, row.witness
        seen = " ".join((client.text or client.error or f"HTTP {client.status} and nothing").split())[:160]
        if witness is None:
            raise self._unfit(f"{name}: a natural chat never reached the upstream; the client saw: {seen}")
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

    def warm_up(self) -> None:
        """Stop some chats. Raises ChildError when none of them stopped, unless that is documented."""
        rows = self._send([CARD[1]] * WARM_UP)
        if self._contender.stop.expect == "never" or any(row.witness and row.witness.outcome == "cut" for row in rows):
            return
        if "flowing" not in (self._contender.stop.situations or ("flowing",)):
            return
        sent = [row.abort for row in rows if row.abort and row.abort.sent_ns]
        if sent and (self._contender.stop.kind != "request" or any(abort.accepted_sent_ns for abort in sent)):
            return  # accepted or hung up, and the upstream ran on: a finding, not a fault of the file
        last = rows[-1].abort
        answer = last and (last.error or f"HTTP {last.status}, {last.outcome}")
        raise self._unfit(f"{self._contender.name}: the warm-up stopped nothing; the stop was answered with: {answer}")

    def card(self) -> list[CardRow]:
        """All situations at once, each with a chat of its own."""
        situations = [each for each in CARD if self._applies(each)]
        return [self._judge(each, row) for each, row in zip(situations, self._send(situations), strict=True)]

    def _applies(self, situation: Situation) -> bool:
        stop = self._contender.stop
        if stop.kind != "request" and (situation.again or situation.unknown or situation.name == "after the end"):
            return False
        return stop.situations is None or situation.stop_ms is None or bool({*situation.like} & {*stop.situations})

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
        journal, _traces = settled(self._mock.url, None, loaded.rows, expects=expects)
        if len(loaded.rows) < len(chats):
            raise self._unfit("the load did not send all chats; its log is locust-0.log")
        head = CaseHead(strategy=self._contender.name, scenario="check", workers=1, streams=len(chats), block=0)
        return join(head, loaded.rows, (), journal)

    def _order(self) -> Order:
        scenario = Scenario("check", "", 50, 20, 12, streams=8, chats=8)
        case = Case(self._contender.name, scenario, 1, self._contender)
        order = order_of(case, self._target.service.url, self._target.values, self._mock.url)
        return msgspec.structs.replace(order, keep_text=True, again_ms=300.0)

    def _expected(self, request_id: str) -> str:
        """The text that the mock wrote to this chat: the same settings and seed give it again."""
        request = Encoder(_mock_start()).encode(
            "mock", {"id": f"{request_id}-again", "text": f"[mock:{NATURAL}]", "stream": False}
        )
        _response, body = exchange(self._mock.url, request)
        return str(msgspec.json.decode(body)["choices"][0]["message"]["content"])

    def _judge(self, situation: Situation, row: ChatRow) -> CardRow:
        abort, witness = row.abort, row.witness
        after = None
        if witness and abort and abort.sent_ns:
            after = sum(token_ns > abort.sent_ns for token_ns in witness.token_ns)
        answer = "" if abort is None else answer_text(self._contender, row, again=situation.again)
        late = situation.name == "after the end"
        verdict = "" if late or situation.unknown or abort is None else self._verdict(row)
        return CardRow(situation.name, answer, upstream_text(row), after, verdict)

    def _verdict(self, row: ChatRow) -> str:
        abort, witness = row.abort, row.witness
        if abort is None or abort.sent_ns is None:
            return f"no stop was sent: {abort.error if abort and abort.error else 'the answer had ended'}"
        if witness is None or witness.outcome == "cut":
            return "stopped"
        if self._contender.stop.expect == "never":
            return "documented"
        if self._contender.stop.kind == "request" and abort.accepted_sent_ns is not None:
            return "dishonest"
        return "not stopped"

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


def answer_text(contender: Contender, row: ChatRow, *, again: bool) -> str:
    """What was answered to the stop."""
    abort = row.abort
    if abort is None or contender.stop.kind != "request":
        return contender.stop.kind if abort and abort.sent_ns else "not sent"
    if again and abort.again:
        return f"{abort.again.status} {abort.again.outcome or abort.again.error or ''}".strip()
    return f"{abort.status or ''} {abort.outcome or abort.error or ''}".strip()


def upstream_text(row: ChatRow) -> str:
    """What became of the upstream."""
    witness, open_s = row.witness, upstream_open_s(row)
    if witness is None:
        return "never asked"
    if witness.outcome == "cut" and open_s is not None:
        return f"lost after {1000 * open_s:.1f} ms"
    return {"cut": "lost", "finished": "ran to its end", "open": "still open"}[witness.outcome]


def _mock_start() -> Request:
    start = read_target(MOCK)[0].start
    assert start is not None  # noqa: S101 - our own file
    return start
