"""The subscriber: listens to the Redis channel for wake-ups, and for messages sent by hand."""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

import orjson
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from app.config import Settings
from app.utils.notification_service.channel import NOTIFICATION_CHANNEL
from app.utils.redis_client import make_async_redis

SILENCE = 10.0  # seconds without a message after which the link is asked whether it lives
ANSWER = 5.0  # seconds that the answer may take
MAX_MESSAGE = 16 * 1024  # bytes; longer ones are not looked at
MAX_DELAY = 5.0  # seconds between attempts to connect
log = logging.getLogger(__name__)


class NotificationSubscriber:
    """Keeps a subscription to `task_notifications` for ever, and says when there is something to look at.

    Pub/sub is at-most-once: a message with an id only calls `on_wake`, and so does every (re)connection, because what
    was sent meanwhile is lost. The row is read from the event log. A message without an id goes to `on_manual`,
    unchecked.
    """

    def __init__(
        self, settings: Settings, *, on_wake: Callable[[], None], on_manual: Callable[[dict[str, Any]], None]
    ) -> None:
        self._settings = settings
        self._on_wake = on_wake
        self._on_manual = on_manual
        self.connected = False

    async def run(self) -> None:
        """Stay subscribed until cancelled, with capped and jittered pauses between attempts."""
        attempt = 0
        while True:
            try:
                await self._listen()
            except (RedisError, OSError, TimeoutError) as error:
                if self.connected or attempt == 0:
                    log.warning("Redis notification subscriber lost its link (%s); trying on", type(error).__name__)
                attempt = 0 if self.connected else attempt + 1
            self.connected = False
            # Full jitter: after an outage the instances do not come back in step.
            await asyncio.sleep(random.uniform(0.1, min(MAX_DELAY, 0.25 * 2 ** min(attempt, 6))))  # noqa: S311

    async def _listen(self) -> None:
        # No hidden retries: redis-py would reconnect without a word, and the gap would go unseen.
        client = make_async_redis(self._settings, timeout=ANSWER)
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(NOTIFICATION_CHANNEL)
            while True:
                self._handle(await self._next(pubsub))

    async def _next(self, pubsub: PubSub) -> dict[str, Any]:
        """Return the next message; a link that is silent and does not answer a PING is given up (half open)."""
        message = await pubsub.get_message(timeout=SILENCE)
        if message is None:
            await pubsub.ping()
            message = await pubsub.get_message(timeout=ANSWER)
            if message is None:
                raise TimeoutError
        return dict(message)

    def _handle(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self.connected = True
            log.info("Redis notification subscriber started")
            self._on_wake()
        elif message["type"] == "message":
            self._receive(message["data"])

    def _receive(self, body: bytes) -> None:
        try:
            content = orjson.loads(body) if len(body) <= MAX_MESSAGE else None
        except orjson.JSONDecodeError:
            content = None
        if not isinstance(content, dict):
            log.warning("Ignored a channel message that is no JSON object of at most %d bytes", MAX_MESSAGE)
        elif content.get("id") is not None:
            self._on_wake()
        else:
            self._on_manual(content)
