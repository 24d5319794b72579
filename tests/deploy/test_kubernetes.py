"""The manifests are valid, strictly and offline, and start what the restricted pod-security level admits."""

import shutil
import subprocess
from typing import Any

import pytest
from typer.testing import CliRunner

from backends.store_url import StoreUrl
from bench.__main__ import app
from server.settings import Settings
from tests.deploy.files import K8S, documents, manifests, pod_specs

NAMES = [f"{each['kind']} {each['metadata']['name']}" for each in manifests()]
PODS = dict(pod_specs())


@pytest.mark.parametrize("manifest", manifests(), ids=NAMES)
def test_a_manifest_is_valid(manifest: dict[str, Any]) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate (108 MB of schemas)")
    validator.validate(manifest, validator.latest_version(), strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")
def test_kustomize_builds() -> None:
    done = subprocess.run(["kubectl", "kustomize", str(K8S)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "image: stopwatch-chat:0.1.0" in done.stdout


def test_kustomize_names_every_file_but_the_optional_ones() -> None:
    listed = set(documents(K8S / "kustomization.yaml")[0]["resources"])
    assert listed | {"kustomization.yaml", "redis-cluster.yaml", "bench.yaml"} == {file.name for file in K8S.iterdir()}


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_a_pod_is_restricted(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


def test_selectors_match_the_pods() -> None:
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in manifests() if _has_pods(each)]
    for each in manifests():
        selector = each.get("spec", {}).get("selector") or each.get("spec", {}).get("podSelector")
        if selector:
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= label.items() for label in labels), each["metadata"]["name"]


def test_the_services_settings_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = PODS["Deployment stopwatch-chat"]["containers"]
    for variable in container["env"]:
        assert variable["name"].lower() in Settings.model_fields
        monkeypatch.setenv(variable["name"], variable["value"])
    settings = Settings()
    store = StoreUrl.parse(settings.abort_backend.get_secret_value())
    services = {each["metadata"]["name"] for each in manifests() if each["kind"] == "Service"}
    assert store.address.split(":")[0] in services
    pre_stop_s = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert PODS["Deployment stopwatch-chat"]["terminationGracePeriodSeconds"] > pre_stop_s + settings.drain_s + 5


def test_the_load_workers_are_as_many_as_the_master_expects_and_find_it() -> None:
    workloads = {each["metadata"]["name"]: each for each in manifests() if each["kind"] == "Job"}
    (master,) = PODS["Job bench-master"]["containers"]
    (worker,) = PODS["Job bench-worker"]["containers"]
    count = workloads["bench-worker"]["spec"]["parallelism"]
    assert master["args"] == ["load", "--master", "--expect-workers", str(count), "--host", "$(POD_IP)"]
    accepted = "".join(CliRunner().invoke(app, [command, "--help"]).output for command in ("load", "run"))
    assert {word for word in master["args"] + worker["args"] if word.startswith("--")} <= set(accepted.split())
    assert [variable["name"] for variable in master["env"]] == ["POD_IP"]
    assert worker["args"] == ["load", "--worker", "--master-host", "bench-master"]
    assert workloads["bench-worker"]["spec"]["completions"] == count
    (service,) = (
        each for each in manifests() if each["kind"] == "Service" and each["metadata"]["name"] == worker["args"][-1]
    )
    assert service["spec"]["selector"] == workloads["bench-master"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["ports"][0]["port"] == master["ports"][0]["containerPort"]


def test_what_pods_mount_is_declared() -> None:
    claims = {each["metadata"]["name"] for each in manifests() if each["kind"] == "PersistentVolumeClaim"}
    for name, pod in PODS.items():
        volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
        if name != "StatefulSet redis-cluster":  # its volume comes from a template
            mounted = {mount["name"] for each in pod["containers"] for mount in each.get("volumeMounts", ())}
            assert mounted == set(volumes)
        for volume in volumes.values():
            assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}


def _has_pods(manifest: dict[str, Any]) -> bool:
    return "template" in manifest.get("spec", {})
