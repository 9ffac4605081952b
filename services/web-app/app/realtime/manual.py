"""Messages that came through the channel without an id: sent by hand, checked, and shown to few."""

import logging
import time
from typing import Any

from pydantic import ValidationError

from app.domain.messages import TaskUpdate
from app.realtime import frames
from app.realtime.hub import ConnectionManager

log = logging.getLogger(__name__)


class ManualGate:
    """Lets checked messages through to those who may see all hosts, at most `rate` a second."""

    def __init__(self, manager: ConnectionManager, *, accept: bool, rate: float) -> None:
        self._manager = manager
        self._accept = accept
        self._rate = rate
        self._allowance = rate
        self._filled_at = time.monotonic()
        self.refused = 0

    def receive(self, message: dict[str, Any]) -> None:
        """Show `message` or refuse it with a line in the log that says why, never with its content."""
        reason = self._refusal(message)
        if reason:
            self.refused += 1
            log.warning("Refused a channel message without an id: %s", reason)
            return
        self._manager.publish_manual(frames.manual_frame(message))
        log.info("Forwarded notification to WebSocket clients: %s", message["data"]["status"])

    def _refusal(self, message: dict[str, Any]) -> str | None:
        if not self._accept:
            return "messages sent by hand are not accepted here"
        if not self._take():
            return "too many in a second"
        try:
            TaskUpdate.model_validate(message)
            frames.manual_frame(message)
        except ValidationError as error:
            places = sorted({".".join(map(str, item["loc"])) or "message" for item in error.errors()})
            return f"does not fit the schema at {', '.join(places[:5])}"
        except TypeError:
            return "nested too deeply"
        return None

    def _take(self) -> bool:
        now = time.monotonic()
        burst = max(1.0, self._rate)
        self._allowance = min(burst, self._allowance + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True
