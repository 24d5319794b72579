"""The mock's command line: serve, and measure the capacity of this machine."""

import sys
from typing import Annotated, Any

try:
    import typer
    from pydantic import ValidationError
    from typer.exceptions import TyperException
except ModuleNotFoundError as error:
    sys.stderr.write(
        f"mock_llm: {sys.executable} has no {error.name}: use .venv/bin/python -m mock_llm (make setup makes it)\n"
    )
    sys.exit(4)

from mock_llm.settings import Dist, Fault, Settings, one_line

BAD_USAGE = 4

app = typer.Typer(
    help="A mock OpenAI server that streams on schedule and records when each connection was lost.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_SERVE_EPILOG = """
Examples:\n\n
python -m mock_llm serve --port 9000 --ttft-ms 200 --itl-ms 25\n\n
python -m mock_llm serve --stall-at 15 --stall-ms 3000   # silent for 3 s after 15 tokens\n\n
python -m mock_llm serve --headers-ms 5000               # sends nothing at all for 5 s\n\n
python -m mock_llm serve --fault http_429 --fault-rate 0.1\n\n
Per request: a header such as X-Mock-ITL-Ms: 5, or in the last message: \\[mock:itl_ms=5,output_tokens=20]
"""
_CAPACITY_EPILOG = """
Examples:\n\n
python -m mock_llm capacity\n\n
python -m mock_llm capacity --streams 200 --itl-ms 20 --seconds 3 --rounds 1
"""


def _option(name: str) -> Any:
    """Return the option of a setting; without a value (None) the environment variable applies."""
    setting = Settings.model_fields[name]
    default = "none" if setting.default is None else str(setting.default)
    return typer.Option(help=setting.description, show_default=default)


@app.command(epilog=_SERVE_EPILOG)
def serve(
    *,
    host: Annotated[str | None, _option("host")] = None,
    port: Annotated[int | None, _option("port")] = None,
    headers_ms: Annotated[float | None, _option("headers_ms")] = None,
    ttft_ms: Annotated[float | None, _option("ttft_ms")] = None,
    itl_ms: Annotated[float | None, _option("itl_ms")] = None,
    output_tokens: Annotated[int | None, _option("output_tokens")] = None,
    ttft_dist: Annotated[Dist | None, _option("ttft_dist")] = None,
    itl_dist: Annotated[Dist | None, _option("itl_dist")] = None,
    stall_at: Annotated[int | None, _option("stall_at")] = None,
    stall_ms: Annotated[float | None, _option("stall_ms")] = None,
    fault: Annotated[Fault | None, _option("fault")] = None,
    fault_rate: Annotated[float | None, _option("fault_rate")] = None,
    seed: Annotated[int | None, _option("seed")] = None,
    model: Annotated[str | None, _option("model")] = None,
    journal_rows: Annotated[int | None, _option("journal_rows")] = None,
    max_body_bytes: Annotated[int | None, _option("max_body_bytes")] = None,
) -> None:
    """Serve chat completions, responses, completions, embeddings and models as OpenAI does, below /v1/.

    /__mock/journal has one row per request; /__mock/clock and /__mock/health describe the mock itself.

    Prints one line, `ready http://HOST:PORT`, once it is listening; SIGTERM and SIGINT end it with exit code 0.
    Every option can also be set in the environment: MOCK_TTFT_MS and so on.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    from mock_llm.serve import StartError, serve  # noqa: PLC0415 -- keeps --help fast

    try:
        serve(Settings(**given))
    except ValidationError as error:
        _fail(BAD_USAGE, f"{one_line(error)}; see python -m mock_llm serve --help")
    except StartError as error:
        _fail(BAD_USAGE, str(error))


@app.command(epilog=_CAPACITY_EPILOG)
def capacity(
    streams: Annotated[int, typer.Option(min=1, max=20_000, help="Concurrent streams.")] = 1000,
    itl_ms: Annotated[float, typer.Option(min=1, max=1000, help="Time between the tokens of a stream, ms.")] = 25,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Measured time per server and round, s.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Rounds; each measures both servers.")] = 2,
) -> None:
    """Measure how many tokens this machine serves on schedule: the mock, and a plain Starlette StreamingResponse.

    Exit code 0 after a measurement, 2 if it failed.
    """
    from mock_llm.capacity import CapacityError, measure  # noqa: PLC0415 -- imports what serving does not need

    try:
        measure(streams=streams, itl_ms=itl_ms, seconds=seconds, rounds=rounds)
    except CapacityError as error:
        _fail(2, str(error))


def _fail(code: int, message: str) -> None:
    typer.echo(f"mock_llm: {message}", err=True)
    raise typer.Exit(code)


def main() -> None:
    """Run the command line; bad usage prints one line and ends with exit code 4."""
    try:
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        if message := error.format_message():  # empty after the help of a call without arguments
            typer.echo(f"mock_llm: {message}", err=True)
        sys.exit(BAD_USAGE)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)


if __name__ == "__main__":
    main()
