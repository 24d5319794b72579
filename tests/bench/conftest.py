"""What the tests of all rooms may use."""

from tests.bench.command import bench

__all__ = ["bench"]
