"""Run workers of a fleet on this machine for a master on another one."""

from pathlib import Path

from bench.load.fleet.protocol import LOCUSTFILE
from bench.load.order import locust_environment
from bench.system.embedded import temporary_folder
from bench.system.procs import Child

_OURS = "bench: "


def serve_master(host: str, port: int, processes: int) -> list[str]:
    """Serve the master until it ends the run. Returns what the workers had to report. Raises ChildError."""
    arguments = [
        *("locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"),
        *("--worker", "--master-host", host, "--master-port", str(port)),
        *(("--processes", str(processes)) if processes > 1 else ()),  # a parent that hides how its child ended
    ]
    with temporary_folder("worker") as folder:
        log = Path(folder) / "worker.log"
        child = Child("locust", arguments, log, env=locust_environment(folder), ready=False, folder=folder)
        with child:
            code = child.process.wait()
        text = log.read_text(encoding="utf-8", errors="replace")
        found = [line for line in text.splitlines() if line.startswith(_OURS)]
        if code and not found:
            raise child.failure(f"ended with exit code {code}")
        return list(dict.fromkeys(found))
