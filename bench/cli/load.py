"""The commands `load` and `locust`: load from many machines, and load that is driven by hand."""

import shutil
from typing import Annotated, Any

import typer
from typer import Option

from bench.cli.errors import exit_codes, keeping, measuring
from bench.cli.options import RESULTS, Backend, Folders, Seed, Workers, words
from bench.cli.run import LOOPBACK
from bench.cli.show import render_report
from bench.cli.terminal import BAD_USAGE, INVALID, console, end, line, warn
from bench.load.fleet.protocol import MOST, PORT
from bench.record.writer import publish
from bench.workload.scenario import DEFAULT, PlanError, catalogue, load_scenarios

EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}


def load(
    context: typer.Context,
    *,
    master: Annotated[bool, Option("--master", help="Run here; further options are those of `run`.")] = False,
    worker: Annotated[bool, Option("--worker", help="Send chats for a master on another machine.")] = False,
    expect_workers: Annotated[int, Option(min=1, max=MOST, help="--master: begin with this number of processes.")] = 1,
    host: Annotated[str, Option(help="--master: address of this machine that workers and service reach.")] = LOOPBACK,
    master_host: Annotated[str, Option(help="--worker: address of the master's machine (its --host).")] = "",
    master_port: Annotated[int, Option(min=1, max=65535, help="Port of the master.")] = PORT,
    processes: Annotated[int, Option(min=1, max=64, help="--worker: load processes on this machine.")] = 1,
) -> None:
    """Load a service from many machines, each with the same commit of this project.

    On the machine of the witness (address 10.0.0.1), which measures and reports:

    python -m bench load --master --expect-workers 2 --host 10.0.0.1 --backend redis

    On each machine that sends chats; the order does not matter, and a worker ends with the run:

    python -m bench load --worker --master-host 10.0.0.1

    On one machine: python -m bench run --load "--processes 4". A service that runs already is measured with
    --strategy TARGET --url ADDRESS; its upstream is the mock, http://10.0.0.1:9100/v1 with --mock-port 9100.
    Clocks are compared with the witness's before and after every case. docs/distributed.md has the details.
    """
    if master == worker:
        end(BAD_USAGE, "load needs either --master or --worker")
    if master and processes > 1:
        end(BAD_USAGE, 'load --master has no --processes; on one machine: bench run --load "--processes 4"')
    if master:
        line(f"start the workers: python -m bench load --worker --master-host {host} --master-port {master_port}")
        _run(context, host, f"--master --expect-workers {expect_workers} --master-port {master_port}")
        return
    if not master_host or context.args:
        wrong = f"load --worker does not know {' '.join(context.args)}" if context.args else ""
        end(BAD_USAGE, wrong or "load --worker needs --master-host, the address of the master's machine")
    from bench.load.fleet.remote import serve_master

    line(f"worker of {master_host}:{master_port}; it ends with the run")
    with exit_codes(prefix=""):
        problems = serve_master(master_host, master_port, processes)
    for each in problems:
        typer.echo(each, err=True)
    if problems:
        raise typer.Exit(INVALID)


@measuring
def locust(
    *,
    backend: Backend = "redis",
    scenario: Annotated[str, Option(help=f"Each is a user class; some of {', '.join(catalogue())}.")] = ",".join(
        DEFAULT
    ),
    workers: Workers = 2,
    seed: Seed = 1,
    web_port: Annotated[int, Option(min=1, max=65535, help="Port of the web UI, on 127.0.0.1.")] = 8089,
    users: Annotated[int | None, Option(min=1, max=1000, help="Start this number of users at once.")] = None,
    run_time: Annotated[float | None, Option(min=1, help="End after this number of seconds (with --users).")] = None,
    results: Folders = RESULTS,
) -> None:
    """Drive chats by hand in Locust's web UI: choose users and scenarios there, end with Ctrl-C here.

    Locust shows what its clients see. What the witness saw of the same chats is written to a results folder, whose
    report is rendered at the end. It has one block, so it is a first look, not for claims.
    """
    if run_time is not None and users is None:
        raise PlanError("--run-time needs --users")
    from bench.experiments.by_hand import Request, by_hand, drive
    from bench.experiments.serve import check_free, strategy_of
    from bench.run.rig import Kept

    name = strategy_of(backend)
    scenarios = [by_hand(each) for each in load_scenarios(words(scenario))]
    check_free(web_port, "choose another: --web-port 8090")
    kept = Kept(results, f"locust-{name}")
    request = Request(name, workers, seed, web_port, users, run_time)
    with keeping(kept), console.status("starting") as status:

        def opened(url: str) -> None:
            status.stop()
            line(f"Locust's web UI: {url}; Ctrl-C ends it and writes the report")

        chats = drive(request, scenarios, kept, status.update, opened)
    if not chats:
        shutil.rmtree(kept.folder)
        end(INVALID, "no chat was sent: start users in the web UI")
    problems = render_report(kept.folder, INVALID)
    publish(kept.folder, full=False)
    if problems:
        warn("note", [f"this run is invalid: {problems[0]}; its report has {len(problems)} such notes"])


def _run(context: typer.Context, host: str, text: str) -> None:
    """The command `run` with this LOAD and the options that are not ours."""
    root: Any = context.find_root()
    command = root.command.get_command(root, "run")
    with command.make_context("run", ["--load", text, "--host", host, *context.args], parent=root) as run:
        command.invoke(run)
