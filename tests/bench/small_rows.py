"""The smallest rows that a results folder accepts."""

from __future__ import annotations

from bench.record.schema import CaseRow, ChatRow, ClientSide


def chat_row(index: int, *, tokens: int = 0) -> ChatRow:
    """A chat with this many tokens."""
    client = ClientSide(token_ns=list(range(tokens)))
    return ChatRow(
        strategy="none", scenario="flowing", workers=1, streams=1, block=0, index=index, request_id=f"{index}",
        client=client,
    )  # fmt: skip


def case_row(scenario: str) -> CaseRow:
    """A case of this scenario."""
    return CaseRow(strategy="none", scenario=scenario, workers=1, streams=1, block=0)
