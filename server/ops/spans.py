"""The service's OpenTelemetry spans, one for each chat and each abort: nothing until FastAPI or somebody else exports.

They carry names and outcomes only. An exception's text is left out, for nobody knows what it quotes.
"""

from __future__ import annotations

from opentelemetry import trace

SPANS = trace.get_tracer("stopwatch.server")
