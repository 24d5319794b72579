"""Drivers of chats that are not plain HTTP."""
