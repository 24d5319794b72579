"""Measure the abort path without HTTP: its latency between two processes, and its cost for the store.

The library does not import this package. Run `python -m backends.measure latency redis+push://127.0.0.1:6379/0`, or
every part with the stores started: `python -m bench backends`.
"""
