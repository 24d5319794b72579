"""The commands of `python -m bench`: options, error texts, exit codes."""
