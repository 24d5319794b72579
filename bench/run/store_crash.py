"""The crash of a store during a load."""

import threading
import time
from typing import Self

from bench.record.schema import Fault
from bench.system.stores import Store
from bench.workload.plan import Case


class StoreCrash:
    """The store's crash during the load, if the scenario has one and the case a store; `fault` is set afterwards."""

    def __init__(self, case: Case, store: Store | None) -> None:
        self._scenario = case.scenario
        self._store = store if case.scenario.fault else None
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None
        self._cancelled = threading.Event()
        self.fault: Fault | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cancelled.set()  # after a failed load no store may be started
        if self._thread is not None:
            self._thread.join()

    def plan(self, start_ns: int) -> None:
        """The load begins at this moment."""
        if self._store is not None:
            self._thread = threading.Thread(target=self._crash, args=(self._store, start_ns), daemon=True)
            self._thread.start()

    def join(self) -> None:
        """Wait until the store is back. Raises what went wrong."""
        if self._thread is not None:
            self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _crash(self, store: Store, start_ns: int) -> None:
        try:
            if self._cancelled.wait(_left_s(start_ns + int(self._scenario.fault_at_ms * 1e6))):
                return
            down_ns = time.monotonic_ns()
            store.crash()
            if self._cancelled.wait(_left_s(down_ns + int(self._scenario.fault_for_ms * 1e6))):
                return
            store.restart()
            self.fault = Fault(kind=str(self._scenario.fault), down_ns=down_ns, up_ns=time.monotonic_ns())
        except Exception as error:
            self._failed = error


def _left_s(moment_ns: int) -> float:
    return max(0.0, (moment_ns - time.monotonic_ns()) / 1e9)
