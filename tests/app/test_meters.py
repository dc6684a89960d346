"""Counters shared by processes: they add up, survive a death, cost next to nothing, and are exposed by name."""

from __future__ import annotations

import os
import re
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lockgate.app import meters as table
from lockgate.app.counting import CountingJournal, CountingLoad, timing
from lockgate.app.exposition import MOST_RULES, exposition
from lockgate.app.health import Gauges
from lockgate.app.meters import COMMIT, COUNTERS, JUDGE, TIMES, Meters, start_anew
from lockgate.edge.load import Workload
from lockgate.mail.connection import Load
from lockgate.mail.facts import Point
from lockgate.mail.rule_hits import RuleHits, RuleMode
from lockgate.storage.summary import QueueSummary
from lockgate.testing.journal import ListJournal
from pace import slower

QUEUE = QueueSummary({"waiting": 3, "deferred": 2, "held": 1, "under_way": 0}, {"waiting": 900.0, "held": 500.0}, 1)
GAUGES = Gauges(True, QUEUE, 1000.0, (Workload(5, 0.004), Workload(2, 0.0)), 12, 5, 2**40, 2, 1, {"chain.pem": 13.5})


@pytest.fixture
def file(tmp_path):
    return tmp_path / "meters.table"


def scraped(meters, gauges=GAUGES):
    """Every sample by (name, labels)."""
    text = exposition(meters, gauges).decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def count(meters, counter, *values):
    return dict(meters.counted(counter))[values]


def test_processes_add_up_and_one_that_dies_loses_nothing(file):
    for role, times in (("worker-0", 3), ("worker-1", 4), ("worker-0", 5)):
        child = os.fork()
        if child == 0:
            meters = Meters(file, role, 2)
            for _ in range(times):
                meters.add(meters.place(table.ACCEPTED))
            os.kill(os.getpid(), 9)
        os.waitpid(child, 0)
    meters = Meters(file, "desk", 2)
    assert count(meters, table.ACCEPTED) == 12
    start_anew(file)
    assert count(Meters(file, "desk", 2), table.ACCEPTED) == 0


def test_a_table_of_another_kind_or_size_is_made_anew(file):
    file.write_bytes(b"something else")
    meters = Meters(file, "worker-0", 1)
    meters.add(meters.place(table.CONNECTIONS))
    assert count(Meters(file, "desk", 1), table.CONNECTIONS) == 1
    assert count(Meters(file, "desk", 3), table.CONNECTIONS) == 0


def test_happenings_are_counted_as_they_are_told(file):
    meters, told = Meters(file, "worker-0", 1), ListJournal()
    journal = CountingJournal(told, meters)
    journal.note("accepted", id="a", recipients=3, size=1000)
    journal.note("refused", point="RCPT", reply="550 5.4.1 no")
    journal.note("refused", point="MAIL", reply="451 4.7.0 later")
    journal.note("refused", point="INVENTED", reply="999 what")
    for result in ("delivered", "delivered", "deferred", "failed", "something"):
        journal.note(result, to="x@y.test")
    journal.note("report", kind="failed")
    journal.alarm("unforeseen", at="here")
    assert [name for name, _ in told.notes[:2]] == ["accepted", "refused"]
    assert len(told.notes) == 11 and len(told.alarms) == 1
    seen = scraped(meters)
    assert seen["lockgate_smtp_messages_accepted_total",] == 1
    assert seen["lockgate_smtp_recipients_accepted_total",] == 3
    assert seen["lockgate_smtp_accepted_bytes_total",] == 1000
    assert seen["lockgate_smtp_refusals_total", "5xx", "RCPT"] == 1
    assert seen["lockgate_smtp_refusals_total", "4xx", "MAIL"] == 1
    assert sum(value for name, value in seen.items() if name[0] == "lockgate_smtp_refusals_total") == 2
    assert seen["lockgate_delivery_recipients_total", "delivered"] == 2
    assert seen["lockgate_delivery_reports_total", "failed"] == 1
    assert seen["lockgate_log_alarms_total",] == 1


def test_connections_and_judgements_are_counted(file):
    class Table:
        def opened(self, packed):
            return Load(1, 1)

        def closed(self, packed):
            pass

    meters = Meters(file, "worker-0", 1)
    load = CountingLoad(Table(), meters)
    assert load.opened(b"1234") == Load(1, 1)
    load.closed(b"1234")
    judged = timing(lambda policy, facts, until, so_far: (facts, until), meters)
    assert judged(None, "facts", Point.DATA, None) == ("facts", Point.DATA)  # type: ignore[arg-type]
    assert count(meters, table.CONNECTIONS) == 1
    assert sum(meters.timed(JUDGE)[0]) == 1


def test_histograms_are_cumulative_and_have_sum_and_count(file):
    meters = Meters(file, "keeper", 1)
    for seconds in (0.0001, 0.0005, 0.003, 99.0):
        meters.took(COMMIT, seconds)
    seen = scraped(meters)
    assert seen["lockgate_keeper_commit_seconds_bucket", "0.0005"] == 2
    assert seen["lockgate_keeper_commit_seconds_bucket", "0.005"] == 3
    assert seen["lockgate_keeper_commit_seconds_bucket", "+Inf"] == 4
    assert seen["lockgate_keeper_commit_seconds_count",] == 4
    assert seen["lockgate_keeper_commit_seconds_sum",] == pytest.approx(99.0036)


def test_figures_that_are_looked_at(file):
    meters = Meters(file, "desk", 1)
    seen = scraped(meters)
    assert seen["lockgate_queue_tasks", "waiting"] == 3
    assert seen["lockgate_queue_oldest_age_seconds", "held"] == 500
    assert seen["lockgate_certificate_left_days", "chain.pem"] == 13.5
    assert seen["lockgate_smtp_connections_open",] == 7
    assert seen["lockgate_worker_connections_open", "0"] == 5 and seen["lockgate_worker_connections_open", "1"] == 2
    assert seen["lockgate_worker_late_seconds", "0"] == 0.004
    assert seen["lockgate_service_ready",] == 1
    unread = Gauges(False, None, 0.0, (), 0, 0, 0, 0, 0, {})
    assert ("lockgate_queue_tasks", "waiting") not in scraped(meters, unread)  # unknown is not nought


def test_names_follow_the_rule():
    for counter in COUNTERS:
        assert re.fullmatch(r"lockgate_[a-z]+_[a-z_]+_total", counter.name)
        assert len(counter.values) <= 20, "labels are bounded"
    for times in TIMES:
        assert re.fullmatch(r"lockgate_[a-z]+_[a-z_]+_seconds", times.name)
        assert list(times.bounds) == sorted(times.bounds)


def test_counting_costs_less_than_a_microsecond(file):
    meters = Meters(file, "worker-0", 1)
    place = meters.place(table.ACCEPTED)

    def cost(work, rounds=20_000):
        began = time.thread_time()
        for _ in range(rounds):
            work()
        return (time.thread_time() - began) / rounds

    # Processor time, and the best of several: other programs run beside this one.
    assert min(cost(lambda: meters.add(place)) for _ in range(10)) < 1e-6 * slower()
    assert min(cost(lambda: meters.took(JUDGE, 0.0003)) for _ in range(10)) < 1e-6 * slower()


def test_hits_of_rules_are_exposed_by_organisation_rule_and_mode_within_a_bound(file):
    rules = [RuleHits("contoso", 'odd "\n name', RuleMode.AUDIT, 7, 9, 2)]
    rules += [RuleHits("contoso", f"r{n}", RuleMode.ENFORCED, n) for n in range(MOST_RULES + 3)]
    text = exposition(Meters(file, "desk", 1), GAUGES, rules).decode()
    found = {
        (family.name, sample.labels["rule"]): sample.value
        for family in text_string_to_metric_families(text) if family.name.startswith("lockgate_rule")
        for sample in family.samples
    }  # fmt: skip
    assert len(found) == 2 * MOST_RULES
    assert found["lockgate_rule_messages", f"r{MOST_RULES + 2}"] == MOST_RULES + 2
    assert found["lockgate_rule_unknown", 'odd "\n name'] == 2
    assert ("lockgate_rule_messages", "r0") not in found
