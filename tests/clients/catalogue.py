"""The clients: which program speaks for each, and in which environment it runs."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tests.clients import environments
from tests.clients.environments import NODE, PROGRAMS


@dataclass(frozen=True)
class Client:
    """A client as its users have it: with its defaults, retries included."""

    name: str
    """In test ids and in docs/clients.json."""
    title: str
    """In the tables, and so are `closes` and `cancels`."""
    packages: tuple[str, ...]
    """Those whose versions stand in the tables."""
    program: str
    """A file in `programs/`."""
    environment: str | None = None
    """Under .clients/; None for the project's own."""
    variant: str = ""
    closes: str = "`AbortSignal`"
    """How it stops a stream of its own."""
    cancels: str = "`AbortSignal`"
    """How it stops a whole answer of its own."""

    @property
    def installed(self) -> bool:
        """Whether its environment is there, with the pinned versions."""
        return self.environment is None or environments.ready(self.environment)

    def command(self) -> list[str]:
        """Return what to start, without its arguments."""
        if self.environment == NODE:
            node = environments.folder(NODE)
            keep_links = ("--preserve-symlinks", "--preserve-symlinks-main")
            return [str(node / "node_modules/.bin/node"), *keep_links, str(node / PROGRAMS.name / self.program)]
        python = sys.executable if self.environment is None else environments.python(self.environment)
        return [str(python), "-m", f"tests.clients.programs.{Path(self.program).stem}"]

    def versions(self) -> dict[str, str]:
        """Return the version of each package."""
        return {package: environments.version(self.environment, package) for package in self.packages}


CANCELS = "`task.cancel()`"
CLIENTS = (
    Client(
        *("openai-python", "openai for Python, `AsyncOpenAI`", ("openai",), "use_openai.py"),
        closes="`stream.close()`",
        cancels=CANCELS,
    ),
    Client("openai-node", "openai for Node", ("openai",), "use_openai.mjs", NODE),
    Client(
        *("langchain", "LangChain, `ChatOpenAI`", ("langchain-openai",), "use_langchain.py", "langchain"),
        closes="`aclosing(model.astream())`",
        cancels=CANCELS,
    ),
    Client(
        *("litellm", "LiteLLM, `acompletion`", ("litellm",), "use_litellm.py", "litellm"),
        closes="`stream.aclose()`",
        cancels=CANCELS,
    ),
    Client(
        *("litellm-router", "LiteLLM, `Router`", ("litellm",), "use_litellm.py", "litellm", "router"),
        closes="`stream.aclose()`",
        cancels=CANCELS,
    ),
    Client(
        *("pydantic-ai", "pydantic-ai, `Agent`", ("pydantic-ai-slim",), "use_pydantic_ai.py", "pydantic-ai"),
        closes="leaves `async with agent.run_stream()`",
        cancels=CANCELS,
    ),
    Client("llm", "simonw/llm", ("llm",), "use_llm.py", "llm", closes="Ctrl-C", cancels="Ctrl-C"),
    Client(
        *("ai-sdk-compatible", "AI SDK, `@ai-sdk/openai-compatible`", ("ai", "@ai-sdk/openai-compatible")),
        *("use_ai_sdk.mjs", NODE, "compatible"),
    ),
    Client(
        *("ai-sdk-openai", "AI SDK, `@ai-sdk/openai`, `openai.chat(model)`", ("ai", "@ai-sdk/openai")),
        *("use_ai_sdk.mjs", NODE, "chat"),
    ),
)
AI_SDK_DEFAULT = Client(
    *("ai-sdk-default", "AI SDK, `@ai-sdk/openai`, `openai(model)`", ("ai", "@ai-sdk/openai")),
    *("use_ai_sdk.mjs", NODE, "default"),
)
