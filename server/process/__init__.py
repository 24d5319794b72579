"""The supervisor, its workers, and what they are given to run in."""
