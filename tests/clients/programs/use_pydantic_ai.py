"""pydantic-ai's `Agent`, which asks the model again when it takes an answer for a bad one."""

from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from tests.clients.programs.contract import MODEL, Task, run


async def use(task: Task) -> None:
    """Hold one chat."""
    provider = OpenAIProvider(base_url=task.base_url, api_key="unused")
    agent = task.keep(Agent(OpenAIChatModel(MODEL, provider=provider)))
    settings = ModelSettings(extra_headers=task.headers)
    if not task.streamed:
        whole = await task.whole(agent.run(task.question, model_settings=settings))
        if whole is not None:
            task.piece(whole.output)
            look(task, whole.response)
        return
    async with agent.run_stream(task.question, model_settings=settings) as answer:
        async for text in answer.stream_text(delta=True, debounce_by=None):
            if task.piece(text):
                return
        look(task, answer.response)


def look(task: Task, response: ModelResponse) -> None:
    """Record the finish reason and the usage of the response."""
    task.seen.finish = response.finish_reason
    task.seen.usage = response.usage.output_tokens


run(use)
