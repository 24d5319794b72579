"""What differs between a run and the one it repeats: its numbers may differ for that reason alone."""

from collections.abc import Mapping

import msgspec

from bench.record.base import Record
from bench.record.manifest import Manifest


def changed_since(before: Manifest, now: Manifest) -> list[str]:
    """A sentence for each difference of commit, versions, host, stores and environment variables.

    What one of the manifests does not record is no difference.
    """
    found = []
    if before.commit and now.commit and _code(before) != _code(now):
        found.append(f"the code was {_code(before)}, and is {_code(now)}")
    found += _unlike("version", before.versions, now.versions)
    found += _unlike("host", before.host, now.host)
    for kind, store in before.stores.items():
        found += _unlike(f"store {kind}", store, now.stores.get(kind))
    return found + _unlike("environment variable", before.service_environment, now.service_environment)


def _code(manifest: Manifest) -> str:
    return f"{str(manifest.commit)[:12]}{' with uncommitted changes' if manifest.dirty else ''}"


def _unlike(what: str, before: Record | Mapping[str, str] | None, now: Record | Mapping[str, str] | None) -> list[str]:
    if not before or (not now and not isinstance(now, Mapping)):
        return []
    one, other = _known(before), _known(now)
    names = [*one] if isinstance(before, Record) else dict.fromkeys([*one, *other])
    return [
        f"{what} {name} was {one.get(name, 'absent')}, and is {other.get(name, 'absent')}"
        for name in names
        if one.get(name) != other.get(name)
    ]


def _known(record: Record | Mapping[str, str] | None) -> dict[str, object]:
    values = msgspec.structs.asdict(record) if isinstance(record, Record) else record or {}
    return {name: value for name, value in values.items() if value is not None}
