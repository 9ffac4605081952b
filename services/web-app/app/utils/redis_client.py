"""The one place where Redis clients are made: names, timeouts, keepalive, verified TLS, and the way to the primary.

Without Sentinels Redis is `redis_host`. With them, every new connection asks a Sentinel first; what it names is a host
name, which the certificate is checked against.
"""

from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import MasterNotFoundError as AsyncMasterNotFoundError
from redis.asyncio.sentinel import Sentinel as UntypedAsyncSentinel
from redis.asyncio.sentinel import SentinelConnectionPool as UntypedAsyncPool
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError
from redis.sentinel import Sentinel as UntypedSentinel
from redis.sentinel import SentinelConnectionPool as UntypedPool

from app.config import Settings

Addresses = tuple[tuple[str, int], ...]
# redis-py has no types for these.
_Sentinel: Any = UntypedSentinel
_Pool: Any = UntypedPool
_AsyncSentinel: Any = UntypedAsyncSentinel
_AsyncPool: Any = UntypedAsyncPool


class OrderlySentinel:
    """What a pool of redis-py asks for the primary; for threads, and without connections that outlive a question.

    redis-py's own moves the Sentinel that answered to the front of a list that threads share, and can lose one thereby;
    a connection that it kept is seldom in order when a failover calls for it.
    """

    def __init__(self, addresses: Addresses, options: dict[str, Any]) -> None:
        self._addresses = addresses
        self._options = options

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the primary's address.

        Raises:
            MasterNotFoundError: no Sentinel answers with a primary that it holds for well; the text says what to do.
        """
        with _Sentinel(self._addresses, sentinel_kwargs=self._options) as once:
            try:
                found: tuple[str, int] = once.discover_master(service_name)
            except MasterNotFoundError as error:
                raise MasterNotFoundError(_in_words(error)) from None
            self._addresses = _moved_first(self._addresses, once.sentinels[0])
        return found


class OrderlyAsyncSentinel:
    """The asyncio twin of `OrderlySentinel`."""

    def __init__(self, addresses: Addresses, options: dict[str, Any]) -> None:
        self._addresses = addresses
        self._options = options

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the primary's address; see `OrderlySentinel.discover_master`."""
        async with _AsyncSentinel(self._addresses, sentinel_kwargs=self._options) as once:
            try:
                found: tuple[str, int] = await once.discover_master(service_name)
            except AsyncMasterNotFoundError as error:
                raise AsyncMasterNotFoundError(_in_words(error)) from None
            self._addresses = _moved_first(self._addresses, once.sentinels[0])
        return found


def make_redis(settings: Settings, timeout: float = 1.0) -> Redis:
    """Return a client that fails within about `timeout` seconds a step and leaves trying again to the caller.

    Asking Sentinels that do not answer takes at most about twice `timeout` for all of them together.
    """
    options = connection_options(settings, timeout) | {"retry": Retry(NoBackoff(), 0)}
    if not settings.redis_sentinels:
        return Redis.from_url(settings.redis_url, **options)
    asking = sentinel_options(settings, timeout) | {"retry": Retry(NoBackoff(), 0)}
    sentinel = OrderlySentinel(settings.redis_sentinel_addresses, asking)
    return Redis.from_pool(_Pool(settings.redis_sentinel_primary, sentinel, **options, **_who(settings)))


def make_async_redis(settings: Settings, timeout: float = 5.0) -> AsyncRedis:
    """Return the asyncio twin of `make_redis`."""
    options = connection_options(settings, timeout) | {"retry": AsyncRetry(NoBackoff(), 0)}
    if not settings.redis_sentinels:
        return AsyncRedis.from_url(settings.redis_url, **options)
    asking = sentinel_options(settings, timeout) | {"retry": AsyncRetry(NoBackoff(), 0)}
    sentinel = OrderlyAsyncSentinel(settings.redis_sentinel_addresses, asking)
    return AsyncRedis.from_pool(_AsyncPool(settings.redis_sentinel_primary, sentinel, **options, **_who(settings)))


def connection_options(settings: Settings, timeout: float) -> dict[str, Any]:
    """Return what every connection to Redis is made with, besides where and who."""
    options: dict[str, Any] = {
        "client_name": f"vuls-{settings.component}",
        "socket_connect_timeout": timeout,
        "socket_timeout": timeout,
        "socket_keepalive": True,
    }
    if settings.redis_tls:
        options["ssl_check_hostname"] = True
    return options


def sentinel_options(settings: Settings, timeout: float) -> dict[str, Any]:
    """Return what a connection to a Sentinel is made with.

    All that are silent cost `2 * timeout` together: connect and handshake are not both slow, as the kernel accepts.
    """
    options = connection_options(settings, min(timeout, 2 * timeout / max(1, len(settings.redis_sentinels))))
    options |= {"username": settings.redis_sentinel_user}
    options |= {"password": settings.redis_sentinel_password.get_secret_value()}
    if settings.redis_tls:
        options |= {"ssl": True, "ssl_cert_reqs": "required", "ssl_ca_certs": settings.redis_ca}
    return options


def explain(error: BaseException) -> str:
    """Return what a client's error means and, where that is not plain, what to do. Names no secret."""
    if isinstance(error, MasterNotFoundError | AsyncMasterNotFoundError):
        return str(error)
    if isinstance(error, AuthenticationError | NoPermissionError):
        return f"Redis refuses the user or the password ({error}): compare redis_user and redis_password with its ACL"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _in_words(error: MasterNotFoundError | AsyncMasterNotFoundError) -> str:
    """Return what it means that no primary was found. What each Sentinel answered is in the error, as text only."""
    text = str(error).lower()
    if "username-password" in text or "authentication" in text:
        return (
            "Sentinel refuses the user or the password: compare redis_sentinel_user and redis_sentinel_password"
            " with the ACL of the Sentinels"
        )
    return (
        "no Sentinel names a primary: a failover goes on, or too few Sentinels are left to decide on one; see"
        " docs/operations/redis-failover.md"
    )


def _who(settings: Settings) -> dict[str, Any]:
    """Return what `redis_url` says where no Sentinel is asked, apart from the address."""
    options: dict[str, Any] = {"username": settings.redis_user, "password": settings.redis_password.get_secret_value()}
    options |= {"db": settings.redis_database}
    if settings.redis_tls:
        options |= {"ssl": True, "ssl_cert_reqs": "required", "ssl_ca_certs": settings.redis_ca}
    return options


def _moved_first(addresses: Addresses, client: Redis | AsyncRedis) -> Addresses:
    where = client.connection_pool.connection_kwargs
    first = (where["host"], where["port"])
    return (first, *(address for address in addresses if address != first))
