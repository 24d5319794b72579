"""What an operator sees: logs, metrics, traces, spans, and which code runs."""
