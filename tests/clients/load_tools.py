"""The load tools: each runs a few requests with its defaults and reports by its exit code whether they succeeded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.clients import environments
from tests.clients.started import started

REQUESTS = 5
DEADLINE_S = 240
_CHARACTERS = 2000


@dataclass(frozen=True)
class LoadTool:
    """A load tool, and its least command line; `{url}`, `{tokenizer}` and `{requests}` are filled in."""

    name: str
    """Its package, its command and its environment."""
    arguments: tuple[str, ...]

    @property
    def installed(self) -> bool:
        """Whether its environment is there, with the pinned version."""
        return environments.ready(self.name)

    @property
    def version(self) -> str:
        """The version that is installed."""
        return environments.version(self.name, self.name)

    def run(self, url: str, folder: Path) -> None:
        """Run it to its end; its files go to `folder`. Raises AssertionError when it fails."""
        tokenizer = folder / "tokenizer"
        python = str(environments.python(self.name))
        with started([python, "-m", "tests.clients.programs.make_tokenizer", str(tokenizer)]) as maker:
            assert maker.wait(DEADLINE_S) == 0, "the tokenizer could not be made"
        filled = [each.format(url=url, tokenizer=tokenizer, requests=REQUESTS) for each in self.arguments]
        with started([str(environments.python(self.name).parent / self.name), *filled], folder) as tool:
            written, _ = tool.communicate(timeout=DEADLINE_S)
            assert tool.returncode == 0, written.decode(errors="replace")[-_CHARACTERS:]


LOAD_TOOLS = (
    LoadTool(
        "guidellm",
        (
            *("run", "--backend", "kind=openai_http,target={url}", "--profile", "kind=synchronous"),
            *("--constraint", "kind=max_requests,count={requests}"),
            *("--data", "kind=synthetic_text,prompt_tokens=16,output_tokens=8"),
            *("--tokenizer", "kind=hf_auto,model={tokenizer}"),
        ),
    ),
    LoadTool(
        "aiperf",
        (
            *("profile", "--model", "mock-gpt", "--url", "{url}", "--endpoint-type", "chat", "--streaming"),
            *("--request-count", "{requests}", "--tokenizer", "{tokenizer}", "--isl", "16", "--osl", "8"),
            *("--ui", "none"),
        ),
    ),
)
