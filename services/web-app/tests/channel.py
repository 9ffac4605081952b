"""What a test hears on the Redis channel."""

from typing import Any

import orjson
from redis.client import PubSub

from app.utils.notification_service.channel import HEARTBEAT
from tests.waiting import wait_until


def next_message(subscription: PubSub) -> dict[str, Any]:
    """Return the next message that is no heartbeat of an instance that another test has started."""
    while True:
        message = wait_until(lambda: subscription.get_message(timeout=0.1))
        content: dict[str, Any] = orjson.loads(message["data"])
        if content["type"] != HEARTBEAT:
            return content
