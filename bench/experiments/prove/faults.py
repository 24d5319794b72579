"""The faults that the gate must find, each a few lines added to the service; and a harmless change."""

from dataclasses import dataclass
from pathlib import Path

from bench.workload.scenario import PlanError

EDITS = Path(__file__).parent / "edits"
DOCS = "README.md"
APP, BACKENDS = "server/app.py", "backends/__init__.py"


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
    shown_by: tuple[str, ...]
    needs: str
    needs_scenario: str = ""

    def apply(self, checkout: Path) -> None:
        """Edit the checkout. Raises FaultError."""
        path = checkout / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if self.anchor not in text:
            place = f"no {self.anchor!r} in {self.file}"
            raise FaultError(f"the fault {self.name!r} finds {place}: adapt bench/experiments/prove/faults.py")
        code = (EDITS / f"{self.name}.txt").read_text(encoding="utf-8")
        path.write_text(text + code, encoding="utf-8")


_STOPS = ("upstream_stop_ms", "client_stop_ms")
_CPU, _STORE = ("server_cpu_us_per_token", "unhealthy_blocks"), ("store_ops_per_chat", "store_ops_per_token")
FAULTS = (
    Fault("delay", "adds 5 ms to the stop path", BACKENDS, "Delivery", (*_STOPS, "abort_ack_ms"), "-push"),
    Fault("poll", "polls instead of pushing", BACKENDS, "def from_url(", (*_STOPS, "wasted_tokens"), "-push"),
    Fault("drop", "drops 1 % of aborts", BACKENDS, "AbortOutcome", ("missed",), "-push"),
    Fault("leak", "leaks the upstream on disconnect", APP, "def create_app(", ("missed", "leaked"), "disconnect"),
    Fault("burn", "burns 0.1 ms of CPU time per chunk", APP, "def create_app(", _CPU, "", "steady"),
    Fault("ask", "asks the store once more per chat", BACKENDS, "Delivery", _STORE, "-push", "steady"),
)


def change_docs(checkout: Path) -> None:
    """A change without any effect on a stop."""
    with (checkout / DOCS).open("a", encoding="utf-8") as text:
        text.write("\nOne more sentence.\n")
