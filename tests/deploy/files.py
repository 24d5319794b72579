"""The files under test, parsed, and the metric names in a PromQL expression."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
K8S = DEPLOY / "k8s"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))


def documents(file: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return list(yaml.safe_load_all(file.read_text()))


def manifests() -> list[dict[str, Any]]:
    """The Kubernetes objects of `deploy/k8s`, without kustomize's own file."""
    files = [file for file in sorted(K8S.glob("*.yaml")) if file.name != "kustomization.yaml"]
    return [document for file in files for document in documents(file)]


def pod_specs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and pod specification of each workload."""
    for each in manifests():
        if "template" in each.get("spec", {}):
            yield f"{each['kind']} {each['metadata']['name']}", each["spec"]["template"]["spec"]


def compose() -> dict[str, Any]:
    """The services of `compose.yaml`."""
    services: dict[str, Any] = documents(ROOT / "compose.yaml")[0]["services"]
    return services


def alerts() -> list[dict[str, Any]]:
    return [rule for group in documents(PROMETHEUS / "alerts.yml")[0]["groups"] for rule in group["rules"]]


def panel_expressions() -> list[str]:
    """The queries of all dashboards, with an interval instead of Grafana's variable."""
    panels = [panel for file in DASHBOARDS for panel in json.loads(file.read_text())["panels"]]
    return [target["expr"].replace("$__rate_interval", "1m") for panel in panels for target in panel["targets"]]


def metric_names(expression: str) -> set[str]:
    """The service's metrics in this query."""
    return set(re.findall(r"\bstopwatch_\w+", expression))


def label_values(expression: str, label: str) -> set[str]:
    """The values that a query selects by `label="value"` or `label=~"a|b"`."""
    matches = re.findall(rf'\b{label}=~?"([^"]*)"', expression)
    return {value for match in matches for value in match.split("|")}
