"""The results folder: its format, writing and reading it."""
