"""Relays to measure our service against; each is a program: `python -m bench.contenders.<name>`."""
