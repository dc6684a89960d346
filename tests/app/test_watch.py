"""Thresholds: crossed once, told once; back again, told again."""

from __future__ import annotations

from lockgate.app.config import Alerts
from lockgate.app.watch import Watch
from lockgate.testing.clock import HandClock
from lockgate.testing.journal import ListJournal
from lockgate.testing.keeping import ListedKeeping


def lanes(count: int) -> list[dict[str, object]]:
    return [{"id": f"m{n}", "lane": "contoso/NOLA", "why": "451 4.4.1 nobody there"} for n in range(count)]


async def test_a_full_lane_is_told_once_until_it_is_over(tmp_path):
    keeping, journal = ListedKeeping(lanes(2)), ListJournal()
    alerts = Alerts.model_validate({"queued_messages": 3, "disk_free": 0})
    watch = Watch(keeping, alerts, HandClock(), journal, state=tmp_path)
    await watch.look()
    assert journal.alarms == []
    keeping.tasks = lanes(3)
    await watch.look()
    await watch.look()
    assert journal.alarms == [
        ("many messages wait", {"lane": "contoso/NOLA", "count": 3, "because": "451 4.4.1 nobody there"})
    ]
    keeping.tasks = []
    await watch.look()
    assert journal.named("over") == [{"what": "many messages wait", "which": "contoso/NOLA"}]
    keeping.tasks = lanes(5)
    await watch.look()
    assert len(journal.alarms) == 2


async def test_age_disk_and_a_keeper_that_is_away(tmp_path):
    clock, journal = HandClock(), ListJournal()
    keeping = ListedKeeping()
    keeping.queue_list = oldest_at(clock.now())  # type: ignore[method-assign]
    alerts = Alerts.model_validate({"oldest_message": "10m", "disk_free": 2**62})
    watch = Watch(keeping, alerts, clock, journal, state=tmp_path)
    await watch.look()
    assert [name for name, _ in journal.alarms] == ["disk nearly full"]
    clock.move(601)
    await watch.look()
    assert journal.alarms[-1] == (
        "a message waits long", {"lane": "contoso/HQ", "minutes": 10, "because": "timed out"}
    )  # fmt: skip
    away = ListedKeeping()
    away.away = True
    await Watch(away, alerts, clock, journal, state=tmp_path / "gone").look()
    assert {"keeper away", "state directory unreadable"} <= {name for name, _ in journal.alarms}


async def test_what_others_find_is_told_with_the_rest_and_their_failures_too(tmp_path):
    journal = ListJournal()
    alerts = Alerts.model_validate({"disk_free": 0})
    found = {("certificate ends within 14 days", "us.pem"): {"days": 13.0}}

    def broken():
        raise RuntimeError("a bug")

    watch = Watch(ListedKeeping(), alerts, HandClock(), journal, state=tmp_path, others=(broken, lambda: found))
    await watch.look()
    assert [name for name, _ in journal.alarms] == ["unforeseen", "certificate ends within 14 days"]


def oldest_at(when: float):
    async def queue_list(filters):
        return [{"lane": "contoso/HQ", "tasks": 1, "held": 0, "oldest": when, "why": "timed out"}]

    return queue_list
