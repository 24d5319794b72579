"""OpenTelemetry spans, one for each chat and each abort; without an exporter they do nothing.

They contain ids and outcomes only. An exception's text is omitted, because it may quote a chat's content.
"""

from __future__ import annotations

from opentelemetry import trace

SPANS = trace.get_tracer("stopwatch.server")
