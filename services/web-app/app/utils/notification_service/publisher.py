"""Wakes the web instances after a commit. The event log is what they read; nothing depends on a message arriving."""

import asyncio
import logging
from functools import lru_cache

import orjson
from redis import Redis, RedisError

from app.config import Settings, get_settings
from app.domain.envelope import TASK_UPDATE, StoredEvent, envelope
from app.utils.notification_service.channel import NOTIFICATION_CHANNEL
from app.utils.redis_client import explain, make_redis

logger = logging.getLogger(__name__)

PUBLISH_TIMEOUT = 0.6  # seconds for each of connect, TLS handshake and answer: together below 2 s


class Publisher:
    """Publishes committed events. Safe to share between threads; connects when first used."""

    def __init__(self, settings: Settings) -> None:
        self._redis: Redis = make_redis(settings, timeout=PUBLISH_TIMEOUT)

    def publish(self, event: StoredEvent) -> bool:
        """Publish `event` and tell whether Redis took it. Never raises, gives up within 2 s."""
        try:
            self._redis.publish(NOTIFICATION_CHANNEL, orjson.dumps(envelope(event)))
        except (RedisError, OSError, orjson.JSONEncodeError) as error:
            logger.warning(
                "Could not publish event %s (%s); readers will find it in the log", event.cursor, explain(error)
            )
            return False
        if event.type == TASK_UPDATE:
            logger.info(
                "Published task notification: %s for task_run_id %s",
                event.data.get("status"),
                event.data.get("task_run_id"),
            )
        return True


@lru_cache(maxsize=1)
def default_publisher() -> Publisher:
    """Return this process's publisher, made from its settings."""
    return Publisher(get_settings())


def publish_task_notification(event: StoredEvent) -> bool:
    """Publish a committed event with this process's settings; see `Publisher.publish`."""
    return default_publisher().publish(event)


async def apublish_task_notification(event: StoredEvent) -> bool:
    """Publish without holding up the event loop; see `Publisher.publish`."""
    return await asyncio.to_thread(publish_task_notification, event)
