"""Each real client before the real service: an answer read to its end, and one stopped from either side."""

import pytest

from tests.clients.catalogue import CLIENTS, Client
from tests.clients.rig import PLANNED_TOKENS, SHORT_TOKENS, Outcome, Rig

CUT_WITHIN_MS = 1000
MISSING = "`make clients` installs this client"

pytestmark = pytest.mark.parametrize(
    "client",
    [
        pytest.param(client, id=client.name, marks=pytest.mark.skipif(not client.installed, reason=MISSING))
        for client in CLIENTS
    ],
)


def assert_cut(outcome: Outcome) -> None:
    assert outcome.requests == 1, f"the client asked {outcome.requests} times: {outcome.seen}"
    assert outcome.end == "cut", f"the upstream wrote on after the Stop: {outcome.tokens} tokens, {outcome.seen}"
    assert outcome.cut_ms is not None
    assert outcome.cut_ms < CUT_WITHIN_MS
    assert outcome.tokens < PLANNED_TOKENS


def assert_read(outcome: Outcome) -> None:
    assert outcome.seen["error"] is None
    assert outcome.requests == 1
    assert outcome.end == "finished"
    assert outcome.tokens == SHORT_TOKENS
    assert outcome.seen["pieces"] >= 1


def test_a_stream_is_read_to_its_end(rig: Rig, client: Client) -> None:
    assert_read(rig.chat(client, "stream", "none"))


def test_a_whole_answer_is_read(rig: Rig, client: Client) -> None:
    assert_read(rig.chat(client, "whole", "none"))


@pytest.mark.parametrize("mode", ["stream", "whole"])
def test_its_own_stop_cuts_the_upstream(rig: Rig, client: Client, mode: str) -> None:
    assert_cut(rig.chat(client, mode, "client"))


def test_an_aborted_stream_ends_without_an_error(rig: Rig, client: Client) -> None:
    outcome = rig.chat(client, "stream", "abort")
    assert outcome.abort_status == "stopped"
    assert_cut(outcome)
    assert outcome.seen["error"] is None


def test_a_stream_aborted_before_its_first_token_is_not_asked_for_again(rig: Rig, client: Client) -> None:
    outcome = rig.chat(client, "stream", "early")
    assert outcome.abort_status == "stopped"
    assert_cut(outcome)


def test_an_aborted_whole_answer_is_not_asked_for_again(rig: Rig, client: Client) -> None:
    outcome = rig.chat(client, "whole", "abort")
    assert outcome.abort_status == "stopped"
    assert_cut(outcome)
    assert outcome.seen["error"] is not None, "the user of this client cannot tell it from an empty answer"
