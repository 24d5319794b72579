"""Find and read target files, and name what a case measures: `target[:variant]/stop`."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.targets import templates
from bench.targets.model import Request, Stop, Target, Vars

FOLDER = Path(__file__).parent
OURS, MOCK = "ours", "mock"


class TargetError(ValueError):
    """A target file that cannot be used; the message is one line that names the key and the remedy."""


@dataclass(frozen=True)
class Contender:
    """One row of a table: a target with the settings of a variant, and one way to stop it."""

    target: Target
    way: str
    variant: str | None = None
    file: Path = FOLDER / f"{OURS}.toml"

    @property
    def name(self) -> str:
        """`target/stop`, or `target:variant/stop`."""
        return f"{self.service}/{self.way}"

    @property
    def service(self) -> str:
        """`target` or `target:variant`: contenders with the same service share its process."""
        return f"{self.target.name}:{self.variant}" if self.variant else self.target.name

    @property
    def stop(self) -> Stop:
        """The way to stop."""
        return self.target.stop[self.way]

    @property
    def needs(self) -> list[str]:
        """The stores that the service needs; one that a variant names in its variable `store`, too."""
        store = self.service_vars.get("store")
        return [*self.target.needs, *([str(store)] if store in ("redis", "postgres") else [])]

    @property
    def service_vars(self) -> Vars:
        """The variables of the target, overridden by those of the variant; a way to stop adds its own to its chats."""
        of_variant = self.target.variant[self.variant].vars if self.variant else {}
        return {**self.target.vars, **of_variant}


def shipped() -> list[str]:
    """The names of the target files that come with the project."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def read_target(name: str | Path) -> tuple[Target, Path]:
    """A target by its name, or by the path of a file ending in .toml. Raises TargetError."""
    file = Path(name) if str(name).endswith(".toml") else FOLDER / f"{name}.toml"
    if not file.is_file():
        raise TargetError(f"target {name}: no such file; give a file ending in .toml, or one of {', '.join(shipped())}")
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        target = Target.model_validate(table)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TargetError(f"{file}: cannot be read: {error}") from error
    except ValidationError as error:
        raise TargetError(f"{file}: {_first(error, table)}") from None
    _check_names(target, file)
    return target, file


def contenders(name: str) -> list[Contender]:
    """The contenders that `target`, `target:variant`, `target/stop` or `target:variant/stop` names. Raises TargetError.

    `target` may be the path of a file ending in .toml.
    """
    base, variant, way = _split(name)
    target, file = read_target(base)
    environment_of(target, file)
    if variant and variant not in target.variant:
        raise TargetError(f"{name}: {target.name} has no variant {variant}; choose from {_choices(target.variant)}")
    if way and way not in target.stop:
        raise TargetError(f"{name}: {target.name} has no stop {way}; choose from {_choices(target.stop)}")
    variants: list[str | None] = [variant] if variant else [*target.variant] or [None]
    found = [
        Contender(target, stop, each, file)
        for each in variants
        for stop in (target.variant[each].stops if each else None) or target.stop
        if way in ("", stop)
    ]
    if not found:
        raise TargetError(f"{name}: this variant is not measured with stop {way}")
    return found


def environment_of(target: Target, file: Path) -> dict[str, str]:
    """The environment variables that the templates of a target read. Raises TargetError for one that is not set."""
    found = {}
    for place, text in _texts(target, file):
        for name in sorted(templates.environment_names(text)):
            if name not in os.environ:
                raise TargetError(f"{file}: {place}: env.{name} is not set; export {name} first")
            found[name] = os.environ[name]
    return found


def _split(name: str) -> tuple[str, str, str]:
    """Target, variant and stop; the target may be a path."""
    path, toml, rest = name.rpartition(".toml")
    service, _, way = rest.partition("/")
    base, _, variant = service.partition(":")
    return path + toml + base, variant, way


def _choices(names: Any) -> str:
    return ", ".join(names) or "none"


def _first(error: ValidationError, table: dict[str, Any]) -> str:
    """The first fault in one line: its key, and what is wrong."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = "unknown key; docs/targets.md lists the keys"
    elif fault["type"] == "missing":
        message = "is missing"
    elif place == "schema" and isinstance(table.get("schema"), int):
        message = f"is {table['schema']}, this program reads 1"
    return f"{place}: {message}" if place else message


def _check_names(target: Target, file: Path) -> None:
    """Every variable of every template has a value by the time it is rendered."""
    variables = {*templates.NAMES, *target.vars}
    for variant in target.variant.values():
        variables |= {*variant.vars}
    for stop in target.stop.values():
        variables |= {*stop.vars}
    ids = target.start.ids if target.start else ()
    groups = {"setup": target.setup, "prepare": target.prepare, "ids": ids}
    for place, text in _texts(target, file):
        if unknown := templates.unknown_names(text, variables, groups):
            known = ", ".join(sorted(variables))
            raise TargetError(f"{file}: {place}: {', '.join(unknown)} is no variable; known are {known}")


def _texts(target: Target, file: Path) -> list[tuple[str, str]]:
    """Place and text of every template. Raises TargetError for a file of [process] that cannot be read."""
    found: list[tuple[str, str]] = []
    if target.process:
        process = target.process
        found += [("process.argv", text) for text in (*process.argv, *(process.version or ()))]
        found += [("process.setup", text) for text in process.setup or ()]
        found += [(f"process.env.{name}", text) for name, text in process.env.items()]
        found += [("process.ready.path", process.ready.path), ("process.folder", process.folder)]
        found += [
            (f"process.files.{name}", _source(file.parent / source, f"{file}: process.files.{name}"))
            for name, source in process.files.items()
        ]
    requests: dict[str, Request] = {f"setup.{name}": each for name, each in target.setup.items()}
    requests |= {f"prepare.{name}": each for name, each in target.prepare.items()}
    requests |= {f"stop.{name}": each for name, each in target.stop.items()}
    requests |= {f"stop.{name}.state": each.state for name, each in target.stop.items() if each.state}
    requests["stream"] = target.stream
    if target.start:
        requests["start"] = target.start
    for place, each in requests.items():
        found.append((f"{place}.request", each.request))
        found += [(f"{place}.headers.{name}", text) for name, text in each.headers.items()]
        found += [(f"{place}.form.{name}", text) for name, text in (each.form or {}).items()]
        if each.json_body is not None:
            found.append((f"{place}.json", each.json_body))
    return found


def _source(source: Path, place: str) -> str:
    """The text of a template file, empty for a file that is copied. Raises TargetError."""
    if not source.is_file():
        raise TargetError(f"{place}: there is no file {source}")
    try:
        return templates.checked(source.read_text(encoding="utf-8")) if source.suffix == ".j2" else ""
    except ValueError as error:
        raise TargetError(f"{place}: {source}: {error}") from error
