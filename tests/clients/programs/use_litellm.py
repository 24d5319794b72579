"""LiteLLM's `acompletion`, and with the variant `router` its `Router`, which repeats what it takes for a failure."""

from typing import Any

import litellm

from tests.clients.programs.contract import MODEL, Task, run

litellm.suppress_debug_info = True


async def use(task: Task) -> None:
    """Hold one chat."""
    seen = task.seen
    where = {"model": f"openai/{MODEL}", "api_base": task.base_url, "api_key": "unused"}
    asked: dict[str, Any] = {
        "messages": [{"role": "user", "content": task.question}],
        "extra_headers": task.headers,
        "stream": task.streamed,
    }
    if task.variant == "router":
        router = task.keep(litellm.Router(model_list=[{"model_name": MODEL, "litellm_params": where}]))
        asking = router.acompletion(model=MODEL, **asked)
    else:
        asking = litellm.acompletion(**where, **asked)
    if not task.streamed:
        whole = await task.whole(asking)
        if whole is not None:
            task.piece(whole.choices[0].message.content)
            seen.finish = whole.choices[0].finish_reason
            seen.usage = whole.usage.completion_tokens
        return
    stream = await asking
    async for chunk in stream:
        choice = chunk.choices[0]
        seen.finish = choice.finish_reason or seen.finish
        seen.aborted = getattr(chunk, "aborted", seen.aborted)
        if task.piece(choice.delta.content):
            await stream.aclose()
            return


run(use)
