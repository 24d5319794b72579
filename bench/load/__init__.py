"""The load: Locust processes that send chats and timed aborts."""
