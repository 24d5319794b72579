"""The results folder: its public format, and what writes, reads and joins it."""
