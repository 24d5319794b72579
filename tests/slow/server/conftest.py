"""The services and stores of tests/server."""

from tests.server.conftest import upstream_url
from tests.server.test_deaths import four_workers, upstream
from tests.server.test_supervisor import log, person, stderr

__all__ = ["four_workers", "log", "person", "stderr", "upstream", "upstream_url"]
