"""Workers that die, with the strategies that `make test` leaves out."""

from pathlib import Path
from typing import IO

import httpx2
import pytest

from tests.processes import Running
from tests.server.test_deaths import check_death_of_a_worker
from tests.server.test_outage_deaths import check_death_during_outage


@pytest.mark.parametrize("four_workers", ["redis-timer", "postgres-push"], indirect=True)
async def test_one_of_four_workers_is_killed(four_workers: Running) -> None:
    await check_death_of_a_worker(four_workers)


@pytest.mark.parametrize("strategy", ["redis-poll", "postgres-push"])
async def test_a_worker_dies_while_the_store_is_away(
    upstream_url: str, log: Path, stderr: IO[str], person: httpx2.AsyncClient, strategy: str
) -> None:
    await check_death_during_outage(upstream_url, log, stderr, person, strategy)
