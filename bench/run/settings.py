"""What a run was asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Settings:
    """What a run was asked to do; all of it is in the manifest."""

    backend: str
    workers: int
    quick: bool
    seed: int
    label: str
    starve: bool = False
    """Give the load too little CPU: a run that must become invalid."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for the service under test, beside those that every process gets."""
    url: str | None = None
    """A running service to measure instead of starting one: of the only target."""
    mock_port: int = 0
    """Port of the mock upstream; 0: any."""
    leaves_out_unfit: bool = False
    """A target that cannot be measured is noted in the manifest, and the others are measured."""
    host: str = "127.0.0.1"
    """Address of this machine, on which mock and services listen."""
    interval: float | None = None
    """Measure until the 95 % interval of every stop's p95 is this tight: half its width, as a share of the p95."""
    early: bool = False
    """The run ends when its advice is decided; its comparisons are then judged at a stricter level."""
    load: str = ""
    """Load processes that report to a Locust master, as `parse_fleet` reads them; empty: as many as the cases need."""
