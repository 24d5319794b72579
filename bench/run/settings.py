"""What a run was asked to do."""

from __future__ import annotations

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
    leaves_out_unfit: bool = False
    """A target that cannot be measured is noted in the manifest, and the others are measured."""
    """Port of the mock upstream; 0: any."""
