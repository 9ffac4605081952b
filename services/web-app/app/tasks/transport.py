"""kombu's Redis transport with one change: a job that is done frees its place even when Redis cannot be told.

As kombu has it, an acknowledgement that fails (Redis is away at the very moment a scan ends) leaves the job among the
unacknowledged for good. With a prefetch of one, the worker then waits for ever: it takes no further job, and since it
asks Redis for nothing, it never notices that the connection is gone. Forgetting the job is safe: if Redis still has
it, it is delivered again after the visibility timeout, and finds its run finished.
"""

from typing import Any

from kombu.transport import redis, virtual


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
