"""Figures in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

import lockgate
from lockgate.app.health import Gauges
from lockgate.app.meters import COUNTERS, TIMES, Meters
from lockgate.mail.rule_hits import RuleHits
from lockgate.storage.summary import STATES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MOST_RULES = 500
"""Rules with figures of their own: those that are hit most; `lockgate rule stats` has all of them."""


class _Families(Collector):
    """One scrape."""

    def __init__(self, meters: Meters, gauges: Gauges, rules: Sequence[RuleHits]) -> None:
        self._meters = meters
        self._gauges = gauges
        self._rules = rules

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        for counter in COUNTERS:
            counted = CounterMetricFamily(counter.name.removesuffix("_total"), counter.help, labels=counter.labels)
            for values, count in self._meters.counted(counter):
                counted.add_metric(values, count)
            yield counted
        for times in TIMES:
            counts, whole = self._meters.timed(times)
            bounds = [*(repr(bound) for bound in times.bounds), "+Inf"]
            timed = HistogramMetricFamily(times.name, times.help)
            timed.add_metric((), list(zip(bounds, accumulate(counts), strict=True)), whole)
            yield timed
        yield from _looked_at(self._gauges)
        yield from _of_rules(self._rules)


def exposition(meters: Meters, gauges: Gauges, rules: Sequence[RuleHits] = ()) -> bytes:
    """The text of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(meters, gauges, rules))
    return generate_latest(registry)


def _looked_at(gauges: Gauges) -> Iterator[Metric]:
    one = GaugeMetricFamily
    yield one("lockgate_service_ready", "1 if the service can do its work, as /readyz says", value=float(gauges.ready))
    yield one("lockgate_service_workers_up", "Workers that are well", value=float(gauges.workers_up))
    info = one("lockgate_service_info", "The version that runs", labels=("version",))
    info.add_metric((lockgate.__version__,), 1.0)
    yield info
    yield from _load(gauges)
    yield one("lockgate_policy_revision", "Number of the policy revision in force", value=float(gauges.policy_revision))
    yield one("lockgate_directory_revision", "Revision of the recipients", value=float(gauges.directory_revision))
    yield one("lockgate_disk_free_bytes", "Room left where the queue lies", value=float(gauges.disk_free))
    yield one("lockgate_alerts_active", "Alerts that are neither over nor taken", value=float(gauges.alerts))
    left = one("lockgate_certificate_left_days", "Days until one of our certificates ends", labels=("file",))
    for name, days in gauges.certificates.items():
        left.add_metric((name,), days)
    yield left
    if gauges.queue is not None:
        yield from _queue(gauges)


def _load(gauges: Gauges) -> Iterator[Metric]:
    one = GaugeMetricFamily
    everything = float(sum(worker.connections for worker in gauges.load))
    yield one("lockgate_smtp_connections_open", "Connections that are open", value=everything)
    connections = one("lockgate_worker_connections_open", "Connections of each worker", labels=("worker",))
    late = one("lockgate_worker_late_seconds", "How late each worker comes to what is due", labels=("worker",))
    for slot, worker in enumerate(gauges.load):
        connections.add_metric((str(slot),), float(worker.connections))
        late.add_metric((str(slot),), worker.late)
    yield connections
    yield late


def _queue(gauges: Gauges) -> Iterator[Metric]:
    queue = gauges.queue
    if queue is None:
        return
    tasks = GaugeMetricFamily("lockgate_queue_tasks", "Tasks (message and next hop) by state", labels=("state",))
    age = GaugeMetricFamily("lockgate_queue_oldest_age_seconds", "Age of the oldest by state", labels=("state",))
    for state in STATES:
        tasks.add_metric((state,), float(queue.tasks[state]))
        received = queue.oldest.get(state)
        age.add_metric((state,), max(0.0, gauges.at - received) if received is not None else 0.0)
    yield tasks
    yield age
    down = "Next hops that could not be reached at the last attempt"
    yield GaugeMetricFamily("lockgate_queue_lanes_down", down, value=float(queue.lanes_down))


def _of_rules(rules: Iterable[RuleHits]) -> Iterator[Metric]:
    """Hits of mail flow rules in force; a name is what an administrator chose, and there are so many at most."""
    labels = ("organisation", "rule", "mode")
    hits = CounterMetricFamily("lockgate_rule_messages", "Messages that a mail flow rule was applied to", labels=labels)
    doubts = CounterMetricFamily("lockgate_rule_unknown", "Recipients for whom it could not be told", labels=labels)
    busiest = sorted(rules, key=lambda one: (-one.messages, one.organisation, one.rule, one.mode))[:MOST_RULES]
    for one in busiest:
        hits.add_metric((one.organisation, one.rule, one.mode.value), one.messages)
        doubts.add_metric((one.organisation, one.rule, one.mode.value), one.unknown)
    yield hits
    yield doubts
