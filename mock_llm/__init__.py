"""A mock OpenAI server that streams on schedule and records when each connection was lost."""
