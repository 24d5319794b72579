"""An AgentOS with one agent; REDIS_URL shares cancellations between its workers, else each has its own."""

import os

from agno.agent import Agent
from agno.models.openai.like import OpenAILike
from agno.os import AgentOS

if url := os.environ.get("REDIS_URL"):
    from agno.run.cancel import set_cancellation_manager
    from agno.run.cancellation_management.redis_cancellation_manager import RedisRunCancellationManager
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

    set_cancellation_manager(
        RedisRunCancellationManager(redis_client=Redis.from_url(url), async_redis_client=AsyncRedis.from_url(url))
    )

model = OpenAILike(id="mock-gpt", api_key="unused", base_url=os.environ["OPENAI_BASE_URL"], max_retries=0)
app = AgentOS(agents=[Agent(id="chat", name="chat", model=model, telemetry=False)], telemetry=False).get_app()
