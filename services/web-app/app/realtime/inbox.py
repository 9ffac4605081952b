"""What clients may send: `ping`, and little of it."""

import time

from app.realtime import frames
from app.realtime.client import Client, CloseCode

ERRORS = 5  # messages that the protocol does not know, until the client is closed


class Inbox:
    """Answers one client's messages; closes it with 4009 when they are too many or keep being wrong."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._errors = 0
        self._messages = 0
        self._window_began = time.monotonic()

    def receive(self, text: str | None) -> None:
        """Take a text message, or None for a binary one."""
        if self._too_many():
            self._client.close(CloseCode.ABUSE)
        elif text == "ping":
            self._client.say(frames.PONG)
        else:
            self._errors += 1
            if self._errors >= ERRORS:
                self._client.close(CloseCode.ABUSE)
            else:
                self._client.say(frames.error("The only message that a client sends is the text ping."))

    def _too_many(self) -> bool:
        now, limits = time.monotonic(), self._client.home.limits
        if now - self._window_began > limits.message_window:
            self._window_began, self._messages = now, 0
        self._messages += 1
        return self._messages > limits.messages_per_window
