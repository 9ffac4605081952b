"""The subscriber: listens to the Redis channel for wake-ups, and for messages sent by hand."""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from app.config import Settings
from app.utils.notification_service.channel import HEARTBEAT, NOTIFICATION_CHANNEL
from app.utils.redis_client import explain, make_async_redis

BEAT = 2.0  # seconds between heartbeats of an instance through the channel
SILENCE = 5.0  # seconds without any message after which the link is given up
ANSWER = 5.0  # seconds that Redis may take for an answer
MAX_MESSAGE = 16 * 1024  # bytes; longer ones are not looked at
MAX_DELAY = 1.5  # seconds between attempts to connect
log = logging.getLogger(__name__)


class NotificationSubscriber:
    """Keeps a subscription to `task_notifications` for ever, and says when there is something to look at.

    Pub/sub is at-most-once: a message with an id only calls `on_wake`, and so does every loss and every return of the
    link, because what was sent meanwhile is lost. The row is read from the event log. A message without an id goes to
    `on_manual`, unchecked.

    A link can be dead and look alive: half open, or to a server that nobody publishes to any more. So every instance
    sends a heartbeat through the channel, over another connection, and a link that brings none is given up.
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
                    log.warning("Redis notification subscriber lost its link (%s); trying on", explain(error))
                attempt = 0 if self.connected else attempt + 1
            finally:
                if self.connected:
                    self.connected = False
                    self._on_wake()
            # Full jitter: after an outage the instances do not come back in step.
            await asyncio.sleep(random.uniform(0.1, min(MAX_DELAY, 0.25 * 2 ** min(attempt, 6))))  # noqa: S311

    async def _listen(self) -> None:
        # No hidden retries: redis-py would reconnect without a word, and the gap would go unseen.
        client = make_async_redis(self._settings, timeout=ANSWER)
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(NOTIFICATION_CHANNEL)
            beating = asyncio.create_task(self._beat(client), name="channel heartbeats")
            try:
                while True:
                    self._handle(await self._next(pubsub))
            finally:
                beating.cancel()

    async def _beat(self, client: Redis) -> None:
        """Send heartbeats until Redis refuses one; what follows from that is that none comes back."""
        body = orjson.dumps({"type": HEARTBEAT, "instance": self._settings.instance})
        try:
            while True:
                await client.publish(NOTIFICATION_CHANNEL, body)
                await asyncio.sleep(BEAT)
        except (RedisError, OSError) as error:
            log.warning("Cannot send heartbeats through the channel (%s)", error)

    @staticmethod
    async def _next(pubsub: PubSub) -> dict[str, Any]:
        message = await pubsub.get_message(timeout=SILENCE)
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
        elif content.get("type") != HEARTBEAT:
            self._on_manual(content)
