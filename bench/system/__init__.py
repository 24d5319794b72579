"""Processes, stores, counters, clocks: the machine under the measurement."""
