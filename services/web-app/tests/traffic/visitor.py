"""A client of the feed that comes through the balancer, as a browser does: signed in, with the cookie that binds it."""

import re
import time
from array import array
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from tests.chaos.follower import Diary, Follower, Remote, sequence

_SET_COOKIE = re.compile(rb"(?im)^set-cookie:[ \t]*([^=;\s]+)=([^;\r\n]*)")


class Visitor(Follower):
    """One browser's socket. `base` is the sequence behind which it has to be told everything."""

    def __init__(self, number: int, origin: str, balancer: Remote, cookies: dict[str, str], cursor: str) -> None:
        self._cookies = dict(cookies)
        self._origin = origin
        super().__init__(f"client {number}", {}, cursor, f"traffic-{number}", lambda _: balancer)
        self._sign()
        self.base = sequence(cursor)
        self.waits = array("f")  # seconds from an event's timestamp until it was here
        self.resyncs = 0
        self.refused: dict[int, int] = {}  # answers to handshakes by HTTP status; 0: hung up without one
        self.listener = self._time

    def answered(self, head: bytes) -> None:
        """Keep the cookies that the answer sets: one of them says which instance has this client."""
        status = int(head.split(b" ", 2)[1]) if head else 0
        if status != 101:
            self.refused[status] = self.refused.get(status, 0) + 1
        self._cookies |= {name.decode(): value.decode() for name, value in _SET_COOKIE.findall(head)}
        self._sign()

    def _sign(self) -> None:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        self._headers = {"Host": urlsplit(self._origin).netloc, "Origin": self._origin, "Cookie": cookies}

    def _time(self, message: dict[str, Any]) -> None:
        if message["type"] == "task_update":
            happened = datetime.fromisoformat(message["data"]["timestamp"]).replace(tzinfo=UTC)
            self.waits.append(time.time() - happened.timestamp())


class ResyncingVisitor(Visitor):
    """One that may be told to load its state anew, as after a restore or a promotion; it goes on from there."""

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "resync_required":
            self.resyncs += 1
            self.diary = Diary()
            self.cursor = message["id"]
            self.base = sequence(self.cursor)
            self.leave()
        else:
            super()._take(message)


def peak(arrivals: Iterable[float]) -> int:
    """Return the most of these times (seconds) that lie within one second."""
    times = sorted(arrivals)
    most = start = 0
    for end, at in enumerate(times):
        while times[start] <= at - 1:
            start += 1
        most = max(most, end - start + 1)
    return most
