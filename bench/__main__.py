"""`python -m bench`: run the benchmark, render a report again, and the smaller commands around it."""

from __future__ import annotations

import sys

try:
    import typer
    from typer.exceptions import TyperException
except ModuleNotFoundError as error:
    sys.stderr.write(
        f"bench: {sys.executable} has no {error.name}: use make, or .venv/bin/python -m bench (make setup makes it)\n"
    )
    sys.exit(4)

from bench.cli import experiments, gate, instrument, load, plan, prove, run, show, targets
from bench.cli.terminal import BAD_USAGE, INTERRUPTED
from bench.record.writer import FolderError
from bench.system.interrupts import end_with_make, interrupt_on_signals
from bench.workload.scenario import PlanError

app = typer.Typer(
    help="How fast does a streaming chat really stop? Measure abort strategies against each other.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",  # paragraphs are wrapped to the terminal
    pretty_exceptions_enable=False,
)
for command in (
    *(run.run, run.rerun, show.report, show.compare, show.scenarios, show.strategies),
    *(instrument.doctor, experiments.knee, experiments.stop_path, instrument.instrument, instrument.calibrate),
    *(show.site, gate.baseline, gate.check, show.history, gate.regress, gate.aa, prove.prove),
    *(experiments.backends, experiments.relay, experiments.storm, experiments.soak),
    *(instrument.serve, targets.products, plan.plan, load.locust),
):
    app.command()(command)
app.command(context_settings=load.EXTRA)(load.load)
app.add_typer(targets.app, name="target")


def main() -> None:
    """Run the command line; bad usage is one line and exit code 4."""
    interrupt_on_signals()
    end_with_make()
    try:
        code = app(standalone_mode=False)
    except (PlanError, FolderError) as error:
        typer.echo(f"bench: {error}", err=True)
        code = BAD_USAGE
    except TyperException as error:
        if message := error.format_message():  # empty after the help of a bare call
            if message.startswith("No such command") and "Did you mean" not in message:
                message += " Choose from " + ", ".join(sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
            typer.echo(f"bench: {message}", err=True)
        code = BAD_USAGE
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
