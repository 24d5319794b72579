"""Measures the abort path itself, without HTTP: how fast an abort crosses two processes, and what it costs the store.

Nothing of the library needs this package. `python -m backends.measure latency redis+push://127.0.0.1:6379/0`, or all
of it with the stores started: `python -m bench backends`.
"""
