"""The result of a load: rows and answers of all its processes, by the witness's clock."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.load.fleet.clock import to_witness
from bench.load.fleet.protocol import Hello, place, worker_name
from bench.record.base import decode
from bench.record.schema import LoadClock, LoadRow
from bench.record.traces import LoadAnswer, ProcessHealth


@dataclass(frozen=True)
class Loaded:
    """The rows of a load, the ids of dropped chats, the event loop of each process, and the clocks of their own."""

    rows: list[LoadRow]
    dropped: list[str]
    health: list[ProcessHealth]
    clocks: list[LoadClock] = field(default_factory=list)


def read_loaded(files: Sequence[tuple[Path, Path]], fleet: Sequence[Hello]) -> Loaded:
    """Read the rows and the answer of each process; `fleet` is empty, or has the process of each pair of files."""
    decoder, loaded = msgspec.json.Decoder(LoadRow), Loaded([], [], [])
    for number, (rows_file, done) in enumerate(files):
        rows = [decoder.decode(line) for line in rows_file.read_bytes().splitlines()]
        answer = decode(done.read_bytes(), LoadAnswer, done.name)
        if fleet:
            worker = fleet[number]
            name = worker_name(number, worker.host)
            if clock := to_witness(rows, answer, name):
                loaded.clocks.append(clock)
            answer.health.host = "" if worker.place == place() else name
        loaded.rows.extend(rows)
        loaded.dropped.extend(answer.dropped)
        loaded.health.append(answer.health)
    return loaded
