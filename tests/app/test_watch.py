"""Thresholds: crossed once, told once; back again, told again."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from lockgate.app.config import Alerts
from lockgate.app.watch import Watch, ends_of
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


async def test_age_disk_certificates_and_a_keeper_that_is_away(tmp_path):
    clock, journal = HandClock(), ListJournal()
    keeping = ListedKeeping()
    keeping.queue_list = oldest_at(clock.now())  # type: ignore[method-assign]
    alerts = Alerts.model_validate({"oldest_message": "10m", "disk_free": 2**62, "certificate_days": 14})
    ends = {"mx.contoso.test": clock.now() + 20 * 86400}
    watch = Watch(keeping, alerts, clock, journal, state=tmp_path, certificates=lambda: ends)
    await watch.look()
    assert [name for name, _ in journal.alarms] == ["disk nearly full"]
    clock.move(601)
    await watch.look()
    assert journal.alarms[-1] == (
        "a message waits long", {"lane": "contoso/HQ", "minutes": 10, "because": "timed out"}
    )  # fmt: skip
    clock.move(7 * 86400)
    await watch.look()
    assert journal.alarms[-1][0] == "certificate ends soon"
    away = ListedKeeping()
    away.away = True
    await Watch(away, alerts, clock, journal, state=tmp_path / "gone").look()
    assert {"keeper away", "state directory unreadable"} <= {name for name, _ in journal.alarms}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not installed")
async def test_certificates_are_read_from_their_files(tmp_path):
    chain = tmp_path / "chain.pem"
    key = tmp_path / "key.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3",
        "-subj", "/CN=mx.contoso.test", "-keyout", str(key), "-out", str(chain),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    chain.write_text("mx.contoso.test\n" + chain.read_text() * 2)
    (end,) = ends_of([chain]).values()
    clock, journal = HandClock(end - 13 * 86400), ListJournal()
    alerts = Alerts.model_validate({"disk_free": 0})
    certificates = [chain]
    watch = Watch(ListedKeeping(), alerts, clock, journal, state=tmp_path, certificates=lambda: ends_of(certificates))
    await watch.look()
    assert journal.alarms == [("certificate ends soon", {"certificate": str(chain), "days": 13.0})]
    certificates.append(tmp_path / "none.pem")
    await watch.look()
    assert journal.alarms[-1][0] == "certificate unreadable"


def oldest_at(when: float):
    async def queue_list(filters):
        return [{"lane": "contoso/HQ", "tasks": 1, "held": 0, "oldest": when, "why": "timed out"}]

    return queue_list
