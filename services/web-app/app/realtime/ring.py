"""The last events of the log, encoded, for clients that lag a little."""

from collections import deque
from collections.abc import Iterator

from app.domain.envelope import StoredEvent
from app.realtime.frames import Frame


class Ring:
    """Keeps up to `size` events. `floor` is the sequence behind which it is complete."""

    def __init__(self, size: int) -> None:
        self._entries: deque[tuple[StoredEvent, Frame]] = deque()
        self.size = size
        self.floor = 0

    def restart(self, floor: int) -> None:
        """Forget everything; what follows `floor` will be added."""
        self._entries.clear()
        self.floor = floor

    def add(self, event: StoredEvent, frame: Frame) -> None:
        """Keep an event; the oldest goes when there are too many."""
        self._entries.append((event, frame))
        if len(self._entries) > self.size:
            self.floor = self._entries.popleft()[0].cursor.sequence

    def after(self, sequence: int) -> Iterator[tuple[StoredEvent, Frame]]:
        """Go through what follows `sequence`, oldest first."""
        newest_first = []
        for entry in reversed(self._entries):
            if entry[0].cursor.sequence <= sequence:
                break
            newest_first.append(entry)
        return reversed(newest_first)
