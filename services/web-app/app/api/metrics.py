"""What an instance counts, in Prometheus' form. Read from its parts when asked; nothing is counted twice."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.api.instance import Instance
from app.db.run_counts import OpenRuns
from app.db.scan_hosts import ScanHostSeen


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database says; every instance tells the same."""

    scan_hosts: Sequence[ScanHostSeen]
    open_runs: Sequence[OpenRuns]
    ended_runs: Mapping[str, int]


class InstanceCollector(Collector):
    """Collects the metrics of one instance."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.stored: Stored | None = None  # read by whoever answers; None while the database is away

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
        refused = CounterMetricFamily("vuls_refused", "WebSocket handshakes that were refused.", labels=["code"])
        for problem, count in manager.counters.refused.items():
            refused.add_metric([problem], count)
        yield refused
        resyncs = CounterMetricFamily("vuls_resyncs", "Times that a client was told to load anew.", labels=["reason"])
        for reason, count in manager.counters.resyncs.items():
            resyncs.add_metric([reason], count)
        yield resyncs
        if self.stored is not None:
            yield from _run_metrics(self.stored)
            yield from _scan_host_metrics(self.stored.scan_hosts)


def _run_metrics(stored: Stored) -> Iterator[Metric]:
    runs = GaugeMetricFamily("vuls_runs", "Runs that have not ended.", labels=["zone", "status"])
    age = GaugeMetricFamily(
        "vuls_oldest_run_age_seconds",
        "Seconds since the oldest of them was asked for (queued) or begun (started).",
        labels=["zone", "status"],
    )
    for one in stored.open_runs:
        runs.add_metric([one.zone, one.status], one.count)
        age.add_metric([one.zone, one.status], one.oldest_seconds)
    ended = GaugeMetricFamily("vuls_runs_ended_last_hour", "Runs that ended in the last hour.", labels=["status"])
    for status, count in stored.ended_runs.items():
        ended.add_metric([status], count)
    yield from (runs, age, ended)


def _scan_host_metrics(scan_hosts: Sequence[ScanHostSeen]) -> Iterator[Metric]:
    """Yield how each scan host is."""
    labels = ["zone", "scan_host"]
    seen = GaugeMetricFamily(
        "vuls_scan_host_seen_age_seconds", "Seconds since the worker of a scan host told how it is.", labels=labels
    )
    state = GaugeMetricFamily("vuls_scan_host_state", "1 for the state a scan host is in.", labels=[*labels, "state"])
    age = GaugeMetricFamily(
        "vuls_vulnerability_database_age_seconds", "Seconds since its maker last changed it.", labels=labels
    )
    info = GaugeMetricFamily(
        "vuls_vulnerability_database_info", "1 for the database a scan host has.", labels=[*labels, "digest"]
    )
    for one in scan_hosts:
        names = [one.row.zone, one.row.name]
        seen.add_metric(names, one.silent_seconds)
        state.add_metric([*names, one.state], 1)
        if one.row.database_digest and one.row.database_modified_at:
            age.add_metric(names, (datetime.now(UTC) - one.row.database_modified_at).total_seconds())
            info.add_metric([*names, one.row.database_digest], 1)
    yield from (seen, state, age, info)
