"""The one place where Redis clients are made: names, timeouts, keepalive, verified TLS."""

from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.config import Settings


def _options(settings: Settings, timeout: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "client_name": f"vuls-{settings.component}",
        "socket_connect_timeout": timeout,
        "socket_timeout": timeout,
        "socket_keepalive": True,
    }
    if settings.redis_tls:
        options["ssl_check_hostname"] = True
    return options


def make_redis(settings: Settings, timeout: float = 1.0) -> Redis:
    """Return a client that fails within about `timeout` seconds a step and leaves trying again to the caller."""
    return Redis.from_url(settings.redis_url, retry=Retry(NoBackoff(), 0), **_options(settings, timeout))


def make_async_redis(settings: Settings, timeout: float = 5.0) -> AsyncRedis:
    """Return the asyncio twin of `make_redis`."""
    return AsyncRedis.from_url(settings.redis_url, retry=AsyncRetry(NoBackoff(), 0), **_options(settings, timeout))
