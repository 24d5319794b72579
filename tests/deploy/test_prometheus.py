"""Prometheus accepts its configuration, rules and the dashboard's queries, and alerts fire when they should."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.files import PROMETHEUS, ROOT, alerts, panel_expressions

PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool (Debian: apt-get install prometheus)")
ACCEPTED = 'stopwatch_aborts_total{outcome="accepted", instance="a"}'
DISHONEST = 'stopwatch_dishonest_stops_total{instance="b"}'
OPEN, LIVE = 'stopwatch_open_upstreams{instance="a"}', 'stopwatch_live_streams{instance="a"}'
FIRES = {
    "ServiceDown": {'up{job="stopwatch", instance="a"}': "0x40"},
    "ListenerDown": {'stopwatch_listener_ready{instance="a"}': "0x40"},
    "DishonestStops": {ACCEPTED: "0+2x40", DISHONEST: "0+1x40"},
    "OpenUpstreams": {OPEN: "1x40", LIVE: "0x40"},
    "SlowStops": {
        'stopwatch_stop_seconds_bucket{le="0.5"}': "0+1x40",
        'stopwatch_stop_seconds_bucket{le="1"}': "0+9x40",
        'stopwatch_stop_seconds_bucket{le="+Inf"}': "0+9x40",
    },
    "StreamsDoNotEnd": {
        'stopwatch_live_streams{instance="a"}': "7x40",
        'stopwatch_chats_total{instance="a", finish_reason="stop"}': "5x40",
        'stopwatch_chats_total{instance="b", finish_reason="stop"}': "0+1x40",
    },
    "EventLoopBlocked": {'stopwatch_event_loop_lag_seconds{instance="a"}': "0.3x40"},
    "WorkerDied": {'stopwatch_worker_deaths_total{instance="a"}': "0x20 1x20"},
}
QUIET = {
    'up{job="stopwatch", instance="a"}': "1x40",
    'stopwatch_listener_ready{instance="a"}': "1x40",
    ACCEPTED: "0+10x40",
    DISHONEST: "0+0.5x40",
    OPEN: "7x40",
    'stopwatch_stop_seconds_bucket{le="0.5"}': "0+99x40",
    'stopwatch_stop_seconds_bucket{le="1"}': "0+100x40",
    'stopwatch_stop_seconds_bucket{le="+Inf"}': "0+100x40",
    'stopwatch_live_streams{instance="a"}': "7x40",
    'stopwatch_chats_total{instance="a", finish_reason="stop"}': "0+1x40",
    'stopwatch_event_loop_lag_seconds{instance="a"}': "0.1x40",
    'stopwatch_worker_deaths_total{instance="a"}': "3x40",
}


def promtool(*arguments: str) -> None:
    done = subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def firing(series: dict[str, str], folder: Path) -> set[str]:
    """The alerts that fire 22 minutes after these series began (one sample per minute)."""
    # No sample is expected, so that promtool lists those that it got.
    query = {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "22m", "exp_samples": []}
    test = {
        "rule_files": [str(PROMETHEUS / "alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [query],
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump(test))
    done = subprocess.run([str(PROMTOOL), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0 or "got:" in output, output
    return {rule["alert"] for rule in alerts() if f'alertname="{rule["alert"]}"' in output}


def test_configuration_and_rules_are_valid() -> None:
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))


def test_the_dashboards_queries_are_valid(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(panel_expressions())]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


@pytest.mark.parametrize("alert", FIRES)
def test_an_alert_fires(alert: str, tmp_path: Path) -> None:
    assert firing(FIRES[alert], tmp_path) == {alert}


def test_no_alert_fires_for_a_service_in_order(tmp_path: Path) -> None:
    assert firing(QUIET, tmp_path) == set()


def test_every_alert_is_tested_and_explained() -> None:
    names = {rule["alert"] for rule in alerts()}
    assert names == set(FIRES)
    page = (ROOT / "docs/deploy.md").read_text()
    assert {name for name in names if f"`{name}`" not in page} == set()
