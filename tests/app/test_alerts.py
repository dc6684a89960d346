"""Alerts: told once, repeated until taken, over only when it has settled, and remembered over a restart."""

from __future__ import annotations

import hashlib
import hmac
import json

from lockgate.app.alerts import Alert, AlertBook, Notice, sentence
from lockgate.app.config_operation import Alerts
from lockgate.app.telling import payload, signature
from lockgate.app.watch import Watch
from lockgate.testing.clock import HandClock
from lockgate.testing.journal import ListJournal
from lockgate.testing.keeping import ListedKeeping

WRONG = {("disk nearly full", ""): {"free_mib": 3}}
TWO = {**WRONG, ("many messages wait", "contoso/HQ"): {"count": 5000, "because": "no \x1b[31m connection"}}


def kinds(notices):
    return [(notice.kind, notice.alert.what) for notice in notices]


def test_told_once_repeated_and_over_after_it_has_settled(tmp_path):
    book = AlertBook(tmp_path / "alerts.json", repeat=100, settle=20)
    assert kinds(book.update(WRONG, 1000)) == [("raised", "disk nearly full")]
    assert book.update(WRONG, 1010) == []
    assert book.update({}, 1020) == []  # gone for a moment
    assert book.update(WRONG, 1025) == []  # and back: still the same alert
    assert kinds(book.update(WRONG, 1100)) == [("repeated", "disk nearly full")]
    assert book.update({}, 1110) == []
    assert kinds(book.update({}, 1120)) == [("over", "disk nearly full")]
    assert book.active() == 0
    assert kinds(book.update(WRONG, 1130)) == [("raised", "disk nearly full")]
    assert len({alert.id for alert in book.listed()}) == 2


def test_what_is_taken_is_not_told_again_until_it_was_over(tmp_path):
    book = AlertBook(tmp_path / "alerts.json", repeat=100, settle=0)
    book.update(TWO, 1000)
    (taken,) = book.take([alert.id for alert in book.listed() if alert.which], "1000 ann", 1001)
    assert (taken.what, taken.taken_by) == ("many messages wait", "1000 ann")
    assert book.active() == 1
    assert kinds(book.update(TWO, 1200)) == [("repeated", "disk nearly full")]
    assert kinds(book.update(WRONG, 1210)) == [("over", "many messages wait")]
    assert ("raised", "many messages wait") in kinds(book.update(TWO, 1220))


def test_a_restart_neither_tells_again_nor_forgets_who_took_it(tmp_path):
    path = tmp_path / "alerts.json"
    book = AlertBook(path, repeat=100)
    book.update(TWO, 1000)
    book.take([], "1000 ann", 1001)
    again = AlertBook(path, repeat=100)
    assert again.update(TWO, 1500) == []
    assert {alert.taken_by for alert in again.listed()} == {"1000 ann"}
    path.write_bytes(b"damaged")
    assert len(AlertBook(path).update(TWO, 1600)) == 2


async def test_next_hops_and_a_surge_of_refusals_are_looked_at(tmp_path):
    clock, journal, keeping, refused = HandClock(), ListJournal(), ListedKeeping(), [0.0]

    async def queue_list(filters):
        return [{"lane": "contoso/HQ", "tasks": 1, "held": 0, "oldest": clock.now(), "fails": 4, "why": "timed out"}]

    keeping.queue_list = queue_list  # type: ignore[method-assign]
    alerts = Alerts.model_validate({"connector_failures": 4, "refusals": 100, "disk_free": 0})
    told: list[Notice] = []
    watch = Watch(
        keeping, alerts, clock, journal, state=tmp_path, refusals=lambda: refused[0],
        tell=lambda notices: told.extend(notices),
    )  # fmt: skip
    await watch.look()
    assert journal.alarms == [
        ("a next hop cannot be reached", {"lane": "contoso/HQ", "failures": 4, "because": "timed out"})
    ]
    for step in (40, 40, 19):  # 99 within a minute
        refused[0] += step
        clock.move(20)
        await watch.look()
    assert len(journal.alarms) == 1
    refused[0] += 200
    clock.move(10)
    await watch.look()
    assert journal.alarms[-1][0] == "many refusals"
    clock.move(70)
    await watch.look()
    clock.move(70)
    await watch.look()
    assert {"what": "many refusals", "which": ""} in journal.named("over")
    refused[0] = 5.0  # the service was started anew
    clock.move(10)
    await watch.look()
    assert [notice.kind for notice in told] == ["raised", "raised", "over"]


def test_what_is_posted_is_signed_with_its_time():
    alert = Alert("ab12", "many messages wait", "contoso/HQ", {"count": 9}, 1000.0, 1010.0, 1010.0)
    body = payload(Notice("raised", alert), "mx.contoso.test", 1010.7)
    told = json.loads(body)
    assert told["event"] == "raised" and told["details"] == {"count": 9} and told["which"] == "contoso/HQ"
    assert told["text"] == sentence(alert) == "many messages wait: count: 9"
    made = hmac.new(b"key", b"1010." + body, hashlib.sha256).hexdigest()
    assert signature("key", body, 1010.7) == f"t=1010,v1={made}"
