"""A store whose records all deliveries of a process share, by address and namespace."""

from types import TracebackType
from typing import Any, ClassVar

from backends.base import Options
from backends.memory import MemoryStore

_shared: dict[tuple[str, str], dict[str, Any]] = {}


class SharedStore(MemoryStore):
    """The dict of the memory store, kept when one worker leaves."""

    name: ClassVar[str] = "shared"

    def __init__(self, url: str, options: Options, *, notify: bool) -> None:
        super().__init__(options, notify=notify)
        self.__dict__.update(_shared.setdefault((url, options.namespace), _data(self)), options=options, notify=notify)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the records to the other workers."""


def _data(store: MemoryStore) -> dict[str, Any]:
    return {name: value for name, value in vars(store).items() if name.startswith("_")}


class ForgetfulStore(SharedStore):
    """Does not conform: it forgets every abort."""

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> Any:
        found = await super().flag(request_id, owner, remember=remember)
        self._records.pop(request_id, None)
        return found
