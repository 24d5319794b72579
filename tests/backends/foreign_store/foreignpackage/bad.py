"""What is not a store."""

from typing import ClassVar

from backends.base import Options, Store

NOT_A_CLASS = 1


class NotAStore:
    """No subclass of Store."""


class Unfinished(Store):
    """Lacks all methods, and a name."""


def _concrete(cls: type[Store]) -> type[Store]:
    cls.__abstractmethods__ = frozenset()
    return cls


@_concrete
class OtherConstructor(Store):
    """Takes no URL."""

    name: ClassVar[str] = "other"

    def __init__(self, options: Options, *, notify: bool) -> None:
        super().__init__(options, notify=notify)


@_concrete
class Talkative(Store):
    """Puts the URL into its error."""

    name: ClassVar[str] = "talkative"

    def __init__(self, url: str, options: Options, *, notify: bool) -> None:
        super().__init__(options, notify=notify)
        raise ValueError(f"cannot parse {url}")
