"""Work that goes on beside a test until the test has seen enough."""

import threading
from collections.abc import Callable, Sequence
from typing import Self


class Threads:
    """Runs each piece of work in a thread of its own; each ends when `over` is set."""

    def __init__(self, work: Sequence[Callable[[], None]]) -> None:
        self.over = threading.Event()
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(piece,)) for piece in work]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Return when all work has ended, and raise what ended one of them early."""
        self.over.set()
        for thread in self._threads:
            thread.join()
        for error in self.errors:
            raise error

    def _run(self, piece: Callable[[], None]) -> None:
        try:
            piece()
        except BaseException as error:  # noqa: BLE001  (raised in the test's own thread)
            self.errors.append(error)
