"""A workflow of one step: a chat whose tokens are events."""

from llama_agents.server import WorkflowServer
from openai import AsyncOpenAI
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

client = AsyncOpenAI(max_retries=0)


class Token(Event):
    """A piece of the answer."""

    delta: str


class Chat(Workflow):
    """Ask the upstream; `stream` of the start event chooses whether the answer comes in pieces."""

    @step
    async def talk(self, ctx: Context, ev: StartEvent) -> StopEvent:
        """Relay one chat."""
        messages = [{"role": "user", "content": ev.get("message")}]
        if not ev.get("stream", True):
            whole = await client.chat.completions.create(model="mock-gpt", messages=messages)
            return StopEvent(result=whole.choices[0].message.content)
        text = ""
        # The step is cancelled here; leaving the block closes the upstream.
        async with await client.chat.completions.create(model="mock-gpt", messages=messages, stream=True) as stream:
            async for chunk in stream:
                if chunk.choices and (delta := chunk.choices[0].delta.content):
                    text += delta
                    ctx.write_event_to_stream(Token(delta=delta))
        return StopEvent(result=text)


server = WorkflowServer()
server.add_workflow("chat", Chat(timeout=120))
