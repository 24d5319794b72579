"""The services and stores of tests/server."""

from tests.server.conftest import log, person, stderr, upstream_url
from tests.server.test_deaths import four_workers, upstream

__all__ = ["four_workers", "log", "person", "stderr", "upstream", "upstream_url"]
