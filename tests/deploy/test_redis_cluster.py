"""The Job of redis-cluster.yaml makes a cluster of nodes that run with the StatefulSet's arguments."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.system.embedded import free_port
from bench.system.servers import redis_server
from tests.deploy.files import pod_specs

NODES = [f"127.83.0.{number}" for number in range(1, 7)]
PODS = dict(pod_specs())
needs_tools = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("redis-cli") or not shutil.which("bash"),
    reason="needs Linux (127.0.0.0/8), bash and redis-cli (Debian: apt-get install redis-tools)",
)


def cluster_port() -> int:
    """A free port with a valid bus port, which is 10,000 higher."""
    while (port := free_port()) >= 55_000:
        pass
    return port


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port of six nodes without a cluster, each on an address of its own."""
    (container,) = PODS["StatefulSet redis-cluster"]["containers"]
    with redis_server() as server:
        binary = server.command[0]
    port = cluster_port()
    with ExitStack() as stack:
        for node in NODES:
            folder = tmp_path / node
            folder.mkdir()
            settings = [each.replace("$(POD_IP)", node).replace("/data/", "") for each in container["args"][1:]]
            command = [binary, *settings, "--bind", node, "--port", str(port), "--dir", str(folder)]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            stack.callback(process.terminate)
        for node in NODES:
            while ask(node, port, "ping") != "PONG":
                pass
        yield port


def ask(node: str, port: int, *command: str) -> str:
    done = subprocess.run(
        ["redis-cli", "-h", node, "-p", str(port), *command], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def create(port: int) -> subprocess.CompletedProcess[str]:
    (container,) = PODS["Job redis-cluster-create"]["containers"]
    env = {"NODES": " ".join(NODES), "PORT": str(port), "PATH": "/usr/bin:/bin:/usr/local/bin"}
    return subprocess.run(container["command"], env=env, capture_output=True, text=True, check=False)


@needs_tools
def test_the_job_makes_a_cluster_once(port: int) -> None:
    done = create(port)
    assert done.returncode == 0, done.stdout + done.stderr
    while "cluster_state:ok" not in (info := ask(NODES[0], port, "cluster", "info")):
        pass  # the nodes agree a moment after the slots are assigned
    assert "cluster_known_nodes:6" in info
    assert "cluster_size:3" in info
    again = create(port)
    assert (again.returncode, again.stdout) == (0, "")


@needs_tools
def test_the_job_fails_while_a_node_is_missing() -> None:
    assert create(cluster_port()).returncode != 0


def test_the_job_names_every_pod_of_the_stateful_set() -> None:
    (container,) = PODS["Job redis-cluster-create"]["containers"]
    nodes = next(variable["value"] for variable in container["env"] if variable["name"] == "NODES").split()
    assert nodes == [f"redis-cluster-{number}.redis-cluster" for number in range(len(NODES))]
