"""The commands around the gate: `baseline` keeps a run, `check` compares one with it, `history` shows past runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.errors import exit_codes, usage_errors
from bench.cli.options import BASELINE, NOISE, RESULTS, Folders, Noise, Run
from bench.cli.regress import give_up
from bench.cli.terminal import BAD_USAGE, console, end, line
from bench.record.writer import LATEST


def baseline(
    folder: Run = RESULTS / LATEST,
    *,
    to: Annotated[Path, typer.Option("--baseline", help="Where the baseline is kept.")] = BASELINE,
    noise: Noise = NOISE,
) -> None:
    """Keep a full run as the baseline: every metric as a multiple of the run's own floor, and the noise margins."""
    from bench.gate import baseline as kept  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.gate.margins import read_margins  # noqa: PLC0415

    with exit_codes():
        record = kept.make(kept.load(folder), read_margins(noise))
        kept.write(to, record)
    line(f"{len(record.cases)} cases, floor {record.floor_p50_ms:.3g} ms; {record.margins.says}")
    line(f"baseline: {to}")


def check(
    folder: Run = RESULTS / LATEST,
    *,
    against: Annotated[Path, typer.Option("--baseline", help="Made by `make baseline`.")] = BASELINE,
    noise: Noise = NOISE,
) -> None:
    """Compare a run with the baseline, both as multiples of their own floor. Exit codes as for `regress`."""
    from bench.gate import baseline as kept  # noqa: PLC0415
    from bench.gate.export import write  # noqa: PLC0415
    from bench.gate.margins import read_margins  # noqa: PLC0415
    from bench.gate.verdict_text import show  # noqa: PLC0415 - `--help` and usage errors need none of this

    judged = folder if (folder / "manifest.json").exists() else None
    with exit_codes(partial(give_up, folder=judged)):
        outcome = kept.check(kept.read(against), kept.load(folder), read_margins(noise))
    show(outcome, console)
    try:
        written = write(outcome, folder, typer.echo)
    except OSError as error:
        end(BAD_USAGE, f"{folder} cannot be written ({error.strerror or error}): copy it to a place of yours")
    line(f"verdict: {written[0]}")
    raise typer.Exit(outcome.exit_code)


def history(
    *,
    metric: Annotated[str, typer.Option(help="name.statistic, for example ttft_ms.p95.")] = "upstream_stop_ms.p50",
    strategy: Annotated[str, typer.Option(help="One strategy.", show_default="all")] = "",
    scenario: Annotated[str, typer.Option(help="One scenario; an empty one means all.")] = "flowing",
    results: Folders = RESULTS,
) -> None:
    """Draw a metric over the past full runs of this machine, with the 95 % interval of each."""
    from bench.report.history import HistoryError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.report.history import history as past  # noqa: PLC0415
    from bench.report.history_view import draw, tables  # noqa: PLC0415 - brings in matplotlib

    try:
        with usage_errors(HistoryError):
            found = past(results, metric, strategy or None, scenario or None)
            files = draw(found, results)
    except OSError as error:
        end(BAD_USAGE, f"{results} cannot be written ({error.strerror or error}): choose another with --results")
    for table in tables(found):
        console.print(table, "")
    left_out = ", ".join(f"{count} {why}" for why, count in found.left_out.items())
    line(f"runs shown: {found.runs}; left out: {left_out or 'none'}")
    for path in files:
        line(f"chart: {path}")
