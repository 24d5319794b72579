"""What has changed since the run that is repeated: its numbers may differ for that alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.analysis.reading import of_run

Manifest = Mapping[str, Any]


def changed_since(before: Manifest, now: Manifest) -> list[str]:
    """A sentence each for commit, versions, host, stores and environment variables that are not what they were.

    Only what both manifests say is compared.
    """
    found = []
    if before.get("commit") and now.get("commit") and _code(before) != _code(now):
        found.append(f"the code was {_code(before)}, and is {_code(now)}")
    for what in ("versions", "host"):
        found += _unlike(what.rstrip("s"), before.get(what), now.get(what))
    for kind, store in (before.get("stores") or {}).items():
        found += _unlike(f"store {kind}", store, (now.get("stores") or {}).get(kind))
    found += _unlike("environment variable", of_run(before), of_run(now))
    return found


def _code(manifest: Manifest) -> str:
    return f"{str(manifest['commit'])[:12]}{' with uncommitted changes' if manifest.get('dirty') else ''}"


def _unlike(what: str, before: Manifest | None, now: Manifest | None) -> list[str]:
    if before is None or now is None:
        return []
    return [
        f"{what} {name} was {before.get(name, 'absent')}, and is {now.get(name, 'absent')}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]
