"""simonw/llm on its command line, stopped by Ctrl-C; a chat's headers are a matter of its settings file."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from tests.clients.programs.contract import MODEL, Task, run

SETTINGS = """- model_id: {model}
  model_name: {model}
  api_base: "{base_url}"
  headers:
    {header}: "{chat_id}"
"""


async def use(task: Task) -> None:
    """Hold one chat."""
    with tempfile.TemporaryDirectory() as folder:
        settings = SETTINGS.format(model=MODEL, base_url=task.base_url, header=task.header, chat_id=task.chat_id)
        Path(folder, "extra-openai-models.yaml").write_text(settings)  # noqa: ASYNC240 - there is nothing else to do
        environment = os.environ | {"LLM_USER_PATH": folder}
        flags = [] if task.streamed else ["--no-stream"]
        command = [sys.executable, "-m", "llm", "-m", MODEL, *flags, task.question]
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        if not task.streamed and task.stop == "client":
            await task.whole(process.wait())  # cancels the wait only; what follows stops the program
            process.send_signal(signal.SIGINT)
        while text := await process.stdout.read(1000):
            if task.piece(text.decode(errors="replace").strip()):
                process.send_signal(signal.SIGINT)
        errors = (await process.stderr.read()).decode(errors="replace").strip()
        if await process.wait():
            task.seen.error = {
                "type": f"exit code {process.returncode}",
                "status": None,
                "code": None,
                "message": errors,
            }
        else:
            await look(task, environment)


async def look(task: Task, environment: dict[str, str]) -> None:
    """Record the finish reason and the usage from the program's own log."""
    command = [sys.executable, "-m", "llm", "logs", "--json", "-n", "1"]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, env=environment)
    row = json.loads((await process.communicate())[0])[0]
    task.seen.finish = (row.get("response_json") or {}).get("finish_reason")
    task.seen.usage = row.get("output_tokens")


# A shell ignores SIGINT in its background jobs, and what they start inherits that.
signal.signal(signal.SIGINT, signal.SIG_DFL)
run(use)
