"""The faults that the gate must find, each a few lines added to the service; and a harmless change."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.workload.scenario import PlanError

EDITS = Path(__file__).parent / "edits"


class FaultError(PlanError):
    """A fault does not fit the service's code; the message is one line."""


@dataclass(frozen=True)
class Fault:
    """A fault: edits/<name>.txt is appended to `file` (in the checkout), which must contain `anchor`.

    It wraps names of the public API, so it does not depend on the code within. `shown_by`: the rules and metrics of
    which at least one must make the verdict worse. `needs`: text that a strategy's name must contain for the fault to
    show; `needs_scenario`: the scenario in which it shows, if only one.
    """

    name: str
    sentence: str
    file: str
    anchor: str
    shown_by: Sequence[str]
    needs: str = ""
    needs_scenario: str = ""

    def apply(self, checkout: Path) -> None:
        """Edit the checkout. Raises FaultError."""
        path = checkout / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if self.anchor not in text:
            place = f"no {self.anchor!r} in {self.file}"
            raise FaultError(f"the fault {self.name!r} finds {place}: adapt bench/experiments/prove/edits")
        code = (EDITS / f"{self.name}.txt").read_text(encoding="utf-8")
        path.write_text(text + code, encoding="utf-8")


FAULTS = [Fault(name, **each) for name, each in tomllib.loads((EDITS / "faults.toml").read_text("utf-8")).items()]


def change_docs(checkout: Path) -> None:
    """A change without any effect on a stop."""
    with (checkout / "README.md").open("a", encoding="utf-8") as text:
        text.write("\nOne more sentence.\n")
