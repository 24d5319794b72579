"""Dashboard and alerts query metrics that the service has, and label values that it uses."""

import httpx2
import pytest

from backends import AbortOutcome
from tests.deploy.files import alerts, label_values, metric_names, panel_expressions
from tests.server.service import NO_TLS, question, serve

EXPRESSIONS = [str(rule["expr"]) for rule in alerts()] + panel_expressions()


@pytest.fixture(scope="module")
def served() -> set[str]:
    """The names in /metrics of a service that has refused an abort, and ended a chat whose upstream is not there."""
    with serve("http://127.0.0.1:1") as service, httpx2.Client(base_url=service.url, verify=NO_TLS) as client:
        assert client.post("/abort/", json={"request_id": "none"}).status_code == 404
        assert client.post("/chat/", json=question()).status_code == 502
        text = ""
        while "stopwatch_store_events" not in text:  # the first sample is taken after half a second
            text = client.get("/metrics").text
    declared = [line.split() for line in text.splitlines() if line.startswith("# TYPE ")]
    names = {name for _, _, name, _ in declared}
    histograms = {name for _, _, name, kind in declared if kind == "histogram"}
    return names | {name + end for name in histograms for end in ("_bucket", "_count", "_sum")}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_is_in_the_services_metrics(expression: str, served: set[str]) -> None:
    if not metric_names(expression):
        assert expression.startswith(("up{", "ALERTS{")), "Prometheus' own series"
    assert metric_names(expression) <= served


def test_only_known_outcomes_are_selected() -> None:
    selected = set[str]().union(*(label_values(each, "outcome") for each in EXPRESSIONS))
    assert selected
    assert selected <= set(AbortOutcome)
