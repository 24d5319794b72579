"""The regression gate: is HEAD worse than a base? Rules, margins, blocks, outcome, and the A/A test behind them."""

INVALID, BAD_USAGE = 2, 4


class GateError(Exception):
    """The gate cannot give a verdict; the message is one line, cause and next step; `code` is the exit code."""

    def __init__(self, message: str, code: int = BAD_USAGE) -> None:
        super().__init__(message)
        self.code = code
