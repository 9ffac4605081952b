"""Publishes numbered messages and listens for them through the application's own clients, until standard input ends.

Run by the services' Python, with the settings of a web instance in the environment. Host names are looked up in
VULS_TEST_ADDRESSES (JSON), because those of test containers are known only to each other; certificates are checked
against the names all the same. Prints one JSON object a line: {"at": seconds, "what": "published", "number": 7}; what
else there is to say: refused (with a reason), heard, woken.
"""

import asyncio
import json
import os
import socket
import sys
import time
from typing import Any

import orjson
from redis import RedisError

from app.config import get_settings
from app.utils.notification_service.channel import NOTIFICATION_CHANNEL
from app.utils.notification_service.subscriber import NotificationSubscriber
from app.utils.redis_client import explain, make_redis

_ADDRESSES: dict[str, str] = json.loads(os.environ["VULS_TEST_ADDRESSES"])
_look_up = socket.getaddrinfo


def _getaddrinfo(host: Any, *more: Any, **named: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    return _look_up(_ADDRESSES.get(name, host), *more, **named)


def say(what: str, number: int = 0, **more: Any) -> None:
    """Print one line."""
    print(json.dumps({"at": time.time(), "what": what, "number": number} | more), flush=True)  # noqa: T201


async def publish(stop: asyncio.Event) -> None:
    """Publish a number every 50 ms, each with at most as much time as a publisher of the application has."""
    client = make_redis(get_settings(), timeout=0.6)
    number = 0
    while not stop.is_set():
        number += 1
        try:
            body = orjson.dumps({"type": "test", "number": number})
            await asyncio.to_thread(client.publish, NOTIFICATION_CHANNEL, body)
            say("published", number)
        except (RedisError, OSError) as error:
            say("refused", number, why=explain(error))
        await asyncio.sleep(0.05)


async def main() -> None:
    """Publish and listen until standard input ends."""
    stop = asyncio.Event()
    subscriber = NotificationSubscriber(
        get_settings(),
        on_wake=lambda: say("woken", connected=subscriber.connected),
        on_manual=lambda message: say("heard", message["number"]),
    )
    listening = asyncio.create_task(subscriber.run())
    publishing = asyncio.create_task(publish(stop))
    await asyncio.to_thread(sys.stdin.read)
    stop.set()
    await publishing
    listening.cancel()


socket.getaddrinfo = _getaddrinfo
asyncio.run(main())
