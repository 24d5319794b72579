"""`python -m tests.server.shorter_limits` is `python -m server` with a supervisor that waits less."""

from unittest import mock

import server.__main__
from server.process import fork_server


def start_fork_server() -> None:
    fork_server.start_fork_server()
    from server.process import supervisor  # it imports prometheus-client, so not before this

    supervisor.SERVING_PING_S = 0.1
    supervisor.HUNG_S = 2.0
    supervisor.FORCED_DRAIN_S = 0.5


if __name__ == "__main__":
    with mock.patch.object(server.__main__, "start_fork_server", start_fork_server):
        server.__main__.main()
