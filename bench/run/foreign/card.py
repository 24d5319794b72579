"""The stop card: the situations in which one way to stop a chat is tried, and what each of them showed."""

from dataclasses import dataclass

from bench.analysis.chat_outcome import upstream_open_s
from bench.record.schema import AbortSide, ChatRow
from bench.targets.files import Contender
from bench.targets.model import Stop

AFTER_THE_END = "after the end"
NATURAL = "ttft_ms=50,itl_ms=20,output_tokens=12"
ANSWER_MS = 3000


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
    Situation(AFTER_THE_END, NATURAL, 1500),
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


def applies(stop: Stop, situation: Situation) -> bool:
    """Whether this way to stop exists in the situation."""
    if stop.kind != "request" and (situation.again or situation.unknown or situation.name == AFTER_THE_END):
        return False
    return stop.situations is None or situation.stop_ms is None or bool({*situation.like} & {*stop.situations})


def judge(contender: Contender, situation: Situation, row: ChatRow) -> CardRow:
    """What the chat of a situation showed."""
    abort, witness = row.abort, row.witness
    after = None
    if witness and abort and abort.sent_ns:
        after = sum(token_ns > abort.sent_ns for token_ns in witness.token_ns)
    answer = "" if abort is None else answer_text(contender, row, again=situation.again)
    unjudged = situation.name == AFTER_THE_END or situation.unknown or abort is None
    return CardRow(situation.name, answer, upstream_text(row), after, "" if unjudged else verdict(contender.stop, row))


def verdict(stop: Stop, row: ChatRow) -> str:
    """Whether the stop worked, judged by the mock."""
    abort, witness = row.abort, row.witness
    if abort is None or abort.sent_ns is None:
        return f"no stop was sent: {abort.error if abort and abort.error else 'the answer had ended'}"
    if witness is None or witness.outcome == "cut":
        return f"stopped{_contradiction(abort)}"
    if witness.done_ns is not None and witness.done_ns <= abort.sent_ns:
        return "sent after the end"
    if stop.expect == "never":
        return "documented"
    if stop.kind == "request" and abort.accepted_sent_ns is not None:
        return f"dishonest{_contradiction(abort)}"
    return "not stopped"


def _contradiction(abort: AbortSide) -> str:
    """The last state that contradicts the stop, for targets that report one."""
    others = [seen.state for seen in abort.states or () if not seen.honest]
    return f", later {others[-1]}" if others else ""


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
