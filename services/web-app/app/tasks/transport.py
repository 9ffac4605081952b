"""kombu's Redis transports with one change: a job that is done frees its place even when Redis cannot be told.

As kombu has it, an acknowledgement that fails (Redis is away at the very moment a scan ends) leaves the job among the
unacknowledged for good. With a prefetch of one, the worker then waits for ever: it takes no further job, and since it
asks Redis for nothing, it never notices that the connection is gone. Forgetting the job is safe: if Redis still has
it, it is delivered again after the visibility timeout, and finds its run finished.
"""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis, virtual

from app.utils.redis_client import OrderlySentinel


class QoS(redis.QoS):  # type: ignore[misc]  # kombu has no types
    """The jobs that were delivered and not acknowledged."""

    def ack(self, delivery_tag: Any) -> None:  # noqa: ANN401  (kombu's own)
        """Tell Redis that a job is done, and forget it whether that worked or not."""
        try:
            super().ack(delivery_tag)
        except redis.Transport.connection_errors:
            virtual.QoS.ack(self, delivery_tag)
            raise


class Channel(redis.Channel):  # type: ignore[misc]  # kombu has no types
    """A channel with the forgetful `QoS`."""

    QoS = QoS


class Transport(redis.Transport):  # type: ignore[misc]  # kombu has no types
    """What `broker_transport` names."""

    Channel = Channel


class SentinelChannel(redis.SentinelChannel):  # type: ignore[misc]  # kombu has no types
    """The same, on a connection that asks Sentinel for the primary as all other clients of this package do."""

    QoS = QoS

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:  # noqa: ANN401  (kombu's own)
        pool = super()._sentinel_managed_pool(asynchronous)
        theirs = pool.sentinel_manager
        where = (client.connection_pool.connection_kwargs for client in theirs.sentinels)
        addresses = tuple((entry["host"], entry["port"]) for entry in where)
        pool.sentinel_manager = pool.proxy.sentinel_manager = OrderlySentinel(addresses, theirs.sentinel_kwargs)
        return pool


class SentinelTransport(redis.SentinelTransport):  # type: ignore[misc]  # kombu has no types
    """What `sentinel://` means once this module is imported.

    An alias, not `broker_transport`: a connection that goes on to its next address takes the transport from the URL.
    """

    Channel = SentinelChannel


TRANSPORT_ALIASES["sentinel"] = f"{__name__}:{SentinelTransport.__name__}"
