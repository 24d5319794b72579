"""Observability: logs, metrics, traces, spans, and the running revision."""
