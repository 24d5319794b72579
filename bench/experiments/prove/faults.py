"""The faults that the gate must find, each a few lines added to the service; and a harmless change."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from bench.workload.scenario import PlanError

EDITS = Path(__file__).parent / "edits"


class FaultError(PlanError):
    """A fault does not fit the service's code; the message is one line."""


@dataclass(frozen=True)
class Fault:
    """A fault: edits/<code>.txt, by default that of its name, with its `values`, is appended to `file` in the checkout.

    `file` must contain `anchor`. The code wraps names of the public API only. `shown_by`: the rules and metrics of
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
    code: str = ""
    values: Mapping[str, int] = field(default_factory=dict)

    def apply(self, checkout: Path) -> None:
        """Edit the checkout. Raises FaultError."""
        path = checkout / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if self.anchor not in text:
            place = f"no {self.anchor!r} in {self.file}"
            raise FaultError(f"the fault {self.name!r} finds {place}: adapt bench/experiments/prove/edits")
        code = Template((EDITS / f"{self.code or self.name}.txt").read_text(encoding="utf-8"))
        path.write_text(text + code.substitute(self.values), encoding="utf-8")


FAULTS = [Fault(name, **each) for name, each in tomllib.loads((EDITS / "faults.toml").read_text("utf-8")).items()]


def change_docs(checkout: Path) -> None:
    """A change without any effect on a stop."""
    with (checkout / "README.md").open("a", encoding="utf-8") as text:
        text.write("\nOne more sentence.\n")
