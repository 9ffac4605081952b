"""One timer for the pings of all sockets: each is looked at once in a turn of the wheel."""

import asyncio
from typing import Protocol

TURN = 20  # seconds


class Checked(Protocol):
    """What the wheel looks after."""

    def check(self) -> None:
        """Ping the peer, or give it up."""


class Wheel:
    """Spreads its members over the seconds of a turn, so that their pings do not come in a burst."""

    def __init__(self) -> None:
        self._slots: list[set[Checked]] = [set() for _ in range(TURN)]
        self._hand = 0

    def add(self, member: Checked) -> None:
        """Look after `member`, for the first time a whole turn from now at most."""
        min(self._slots, key=len).add(member)

    def discard(self, member: Checked) -> None:
        """Forget `member`; it may be unknown."""
        for slot in self._slots:
            slot.discard(member)

    def advance(self) -> None:
        """Look at the next slot's members."""
        self._hand = (self._hand + 1) % TURN
        for member in tuple(self._slots[self._hand]):
            member.check()

    async def run(self) -> None:
        """Turn once every TURN seconds until cancelled."""
        while True:
            await asyncio.sleep(1)
            self.advance()
