"""The stop card of a target: one table for each way to stop it."""

import contextlib
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from bench.run.foreign.card import CardRow
from bench.run.foreign.check import Checker
from bench.run.rig import instrument_for_checks
from bench.run.target_process import started
from bench.system.embedded import temporary_folder
from bench.system.stores import open_store
from bench.targets.files import contenders

CORRELATED = {
    "header": "its upstream requests carry X-Request-Id",
    "marker": "its upstream requests carry the marker [bench:ID]",
    "": "its upstream requests carry no id",
}
"""What joins a client's chat with its request at the mock."""


def stop_cards(
    name: str, *, url: str | None, mock_port: int, say: Callable[[str], None]
) -> Iterator[tuple[str, list[CardRow]]]:
    """Title and rows of each card. Raises TargetError for the file, ChildError when the target cannot be measured."""
    wanted = contenders(name)
    logs = Path("results") / "target-check"
    logs.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(temporary_folder("check"))
        mock, load = stack.enter_context(instrument_for_checks(scratch, logs, mock_port))
        needs = {kind for each in wanted for kind in each.needs}
        stores = {kind: stack.enter_context(open_store(kind)) for kind in sorted(needs)}
        if url:
            say(f"point the service at {url} to the upstream {mock.url}/v1")
        for service, group in groupby(wanted, key=lambda each: each.service):
            ways = list(group)
            log = logs / f"{service.replace(':', '-')}.log"
            say(f"{'checking' if url else 'starting'} {service}")
            with started(ways[0], mock=mock.url, stores=stores, log=log, url=url) as target:
                for each in ways:
                    checker = Checker(mock, load, target, each)
                    checker.natural()
                    version = f" ({target.version})" if target.version else ""
                    found = CORRELATED[checker.correlation]
                    yield f"{each.name}{version}, {found}", checker.card()
