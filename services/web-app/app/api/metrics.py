"""What an instance counts, in Prometheus' form. Read from its parts when asked; nothing is counted twice."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.api.instance import Instance


class InstanceCollector(Collector):
    """Collects the metrics of one instance."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def describe(self) -> list[Metric]:
        """Return nothing: the names need no check against other collectors."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the present values."""
        realtime = self._instance.realtime
        manager = realtime.manager
        yield GaugeMetricFamily("vuls_clients", "Connected sockets and event streams.", value=len(manager))
        yield GaugeMetricFamily("vuls_lagging", "Clients whose buffers are full now.", value=manager.lagging)
        yield GaugeMetricFamily("vuls_users", "Users with at least one connection.", value=len(manager.user_ids))
        yield GaugeMetricFamily(
            "vuls_redis_connected", "1 while wake-ups can arrive.", value=int(realtime.subscriber.connected)
        )
        yield GaugeMetricFamily("vuls_draining", "1 while no clients are taken.", value=int(realtime.draining))
        yield GaugeMetricFamily(
            "vuls_event_sequence",
            "Sequence of the newest event that was offered to clients.",
            value=manager.head.sequence if manager.head else 0,
        )
        age = realtime.log_age()
        if age is not None:
            yield GaugeMetricFamily("vuls_event_log_read_age_seconds", "Seconds since the log was read.", value=age)
        yield CounterMetricFamily("vuls_events", "Rows of the event log offered.", value=manager.counters.events)
        yield CounterMetricFamily("vuls_deliveries", "Frames written to clients.", value=manager.counters.deliveries)
        yield CounterMetricFamily("vuls_lagged", "Times that a buffer got full.", value=manager.counters.lagged)
        yield CounterMetricFamily(
            "vuls_manual_refused", "Channel messages without an id that were refused.", value=realtime.gate.refused
        )
        closed = CounterMetricFamily("vuls_closed", "Connections that the instance ended.", labels=["code"])
        for code, count in manager.counters.closed.items():
            closed.add_metric([str(int(code))], count)
        yield closed
