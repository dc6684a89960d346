"""What is counted and told of mail, and what is never: nothing here changes a reply or the fate of a message."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from flow.house import CONTOSO, OURS, House
from lockgate.flow.letter import Authentication
from lockgate.flow.observing import Observer, fate, hiding, may_be_shown, row_of
from lockgate.mail import replies
from lockgate.mail.authentication import (
    Arc,
    ArcVerdict,
    Authenticated,
    Dkim,
    DkimVerdict,
    Dmarc,
    DmarcVerdict,
    Spf,
    SpfVerdict,
)
from lockgate.mail.envelope import Envelope
from lockgate.mail.facts import Facts
from lockgate.mail.message import Message
from lockgate.mail.recipient import RecipientId
from lockgate.mail.redaction import Masking, Redactor
from lockgate.mail.reports.counted import Arrived, Failed, Seen
from lockgate.mail.ruling import Defer, Hit, Hold, Refuse, Step, Verdict
from lockgate.testing.builders import NOW, address, connection_of
from lockgate.testing.sender import ListedAuthenticator

SENDING = """
[[anti_phishing_policy]]
name = "Default"
send_aggregate_reports = true
send_failure_reports = true
"""


def found(
    verdict: str, wish: str = "none", *, test: bool = False, published: str = "", spf: str = "fail"
) -> Authenticated:
    proven = ("spf",) if verdict == "pass" else ()
    dmarc = Dmarc(
        DmarcVerdict(verdict), "a.d.test", "d.test", "d.test", wish, test, proven, ("rua@d.test",),
        published=published or f"p={wish}",
    )  # fmt: skip
    keys = (Dkim(DkimVerdict.FAIL, "d.test", "s1"), Dkim(DkimVerdict.NONE, "", ""))
    return Authenticated(Spf(SpfVerdict(spf), "m.d.test"), keys, dmarc, Arc(ArcVerdict.NONE))


class Watched(House):
    """The worker, whose observer's counts lie open."""

    def __init__(self, *answers: Authenticated, policy: str = CONTOSO + SENDING, full: bool = False) -> None:
        super().__init__(policy=policy)
        self.counted: list[Seen] = []
        self.failures: list[Failed] = []
        self.letters: list[Arrived] = []
        self.authenticator = ListedAuthenticator(*answers)

        def keep(arrived: Arrived) -> bool:
            self.letters.append(arrived)
            return not full

        self.reception = msgspec.structs.replace(
            self.reception,
            authentication=Authentication(self.authenticator, asyncio.Semaphore(1)),
            observer=Observer(
                self.count, lambda failed, most: self.failures.append(failed), keep, self.clock, self.journal,
                lambda organisation: None, b"key",
            ),
        )  # fmt: skip

    def count(self, seen: Seen) -> None:
        self.counted.append(seen)


async def last(house: House, *recipients: str, **more: Any) -> int:
    return (await house.send(*(recipients or ("ben@contoso.com",)), **more))[-1].code


@pytest.mark.parametrize(
    ("answer", "code", "disposition", "reasons"),
    [
        (found("pass"), 250, "none", []),
        (found("pass", "reject"), 250, "pass", []),
        (found("fail"), 250, "none", []),
        (found("fail", "reject"), 550, "reject", []),
        (found("fail", "quarantine"), 250, "quarantine", []),
        (found("fail", "quarantine", test=True), 250, "none", ["policy_test_mode"]),
    ],
)
async def test_each_message_is_one_row(answer, code, disposition, reasons) -> None:
    house = Watched(answer)
    assert await last(house, "ben@contoso.com", "amy@contoso.com") == code
    (seen,) = house.counted
    assert (seen.organisation, seen.domain, seen.count) == ("contoso", "d.test", 1)
    row = seen.row
    assert row is not None
    assert (row.disposition, [kind for kind, _ in row.reasons]) == (disposition, reasons)
    assert (row.source, row.header_from, row.envelope_from, row.envelope_to) == (
        "198.51.100.7", "a.d.test", "sender.test", "",
    )  # fmt: skip
    assert [(one.domain, one.selector, one.result) for one in row.signatures] == [("d.test", "s1", "fail")]
    assert [(one.domain, one.scope) for one in row.senders] == [("m.d.test", "mfrom")]


GATEWAY = """
[[inbound_connector]]
name = "Gateway"
sender_domains = ["*"]
sender_ip_addresses = ["198.51.100.7"]
require_tls = false
ef_skip_last_ip = true
"""
CAME = b"Received: from spam.test (x [192.0.2.66]) by gw.example; today\r\n"


@pytest.mark.parametrize(
    ("users", "fields", "asked", "sources"),
    [
        ("", CAME, [("192.0.2.66", "spam.test")], ["192.0.2.66"]),
        ('ef_users = ["ben@contoso.com"]\n', CAME, [("192.0.2.66", "spam.test"), ("198.51.100.7", "mail.sender.test")],
         ["192.0.2.66", "198.51.100.7"]),
        ("", b"Received: by gw.example; today\r\n", [("", "")], ["198.51.100.7"]),
    ],
)  # fmt: skip
async def test_behind_a_gateway_the_row_has_the_true_source(users, fields, asked, sources) -> None:
    house = Watched(found("fail"), policy=CONTOSO + SENDING + GATEWAY + users)
    assert await last(house, "ben@contoso.com", "amy@contoso.com", fields=fields) == 250
    assert [(peer, helo) for peer, helo, _, _ in house.authenticator.asked] == asked
    assert [seen.row.source for seen in house.counted if seen.row is not None] == sources


@pytest.mark.parametrize("more", ["honor_dmarc_policy = false\n", 'dmarc_reject_action = "quarantine"\n'])
async def test_doing_less_than_was_asked_has_a_reason(more: str) -> None:
    house = Watched(found("fail", "reject"), policy=CONTOSO + SENDING + more)
    assert await last(house) == 250
    row = house.counted[0].row
    assert row is not None
    assert (row.disposition, row.reasons) == ("quarantine", (("local_policy", "held for review by local policy"),))


def test_what_was_not_done_because_of_dmarc_is_not_told_as_such() -> None:
    verdict = Verdict(RecipientId(address("ben@contoso.com")), address("ben@contoso.com"))
    step = Step("regulate", "rule X", Hit.YES, "the rule says so")
    other = msgspec.structs.replace(verdict, disposition=Refuse(replies.DIRECT_SEND_REFUSED), steps=(step,))
    assert fate(found("fail").dmarc, [other]) == ("none", ())
    mine = msgspec.structs.replace(
        verdict, disposition=Hold("x"), steps=(Step("authenticate", "DMARC", Hit.YES, "x"),)
    )
    assert fate(found("fail", "quarantine").dmarc, [other, mine]) == ("quarantine", ())
    sealed = msgspec.structs.replace(verdict, steps=(Step("authenticate", "ARC", Hit.YES, "x"),))
    assert fate(found("fail", "reject").dmarc, [sealed])[1][0][0] == "trusted_forwarder"
    doubt = found("temperror", "reject").dmarc
    assert fate(doubt, [other])[1][0][0] == "other"


async def test_nothing_is_counted_that_nobody_asked_for() -> None:
    quiet = found("fail")
    quiet = msgspec.structs.replace(quiet, dmarc=msgspec.structs.replace(quiet.dmarc, reports=()))
    without = found("none")
    without = msgspec.structs.replace(without, dmarc=msgspec.structs.replace(without.dmarc, found_at=""))
    for answer in (quiet, without):
        house = Watched(answer)
        assert await last(house) == 250
        assert house.counted == []
    house = Watched(found("fail"), policy=CONTOSO + '[[anti_phishing_policy]]\nname = "Default"\n')
    assert await last(house) == 250
    assert house.counted == house.failures == []
    house = Watched(found("fail"), policy=CONTOSO)
    assert await last(house) == 250
    assert house.counted == house.authenticator.asked == []


async def test_own_servers_are_not_counted() -> None:
    house = Watched(found("fail"))
    assert await last(house, sender="ann@contoso.com", peer=OURS) == 250
    assert house.counted == []


async def test_what_will_be_tried_again_is_counted_once() -> None:
    house = Watched(found("temperror", "reject"))
    code = await last(house)
    assert code == 451
    assert house.counted == []
    judge = house.judge

    def unsure(policy, facts, until, so_far=None):
        ruling = judge(policy, facts, until, so_far)
        if facts.message is None or not hasattr(ruling, "recipients"):
            return ruling
        verdicts = tuple(msgspec.structs.replace(v, disposition=Defer(replies.UNFORESEEN)) for v in ruling.recipients)
        return msgspec.structs.replace(ruling, recipients=verdicts)

    house = Watched(found("fail"))
    house.judge = unsure
    assert await last(house) == 451
    assert house.counted == []


async def test_trouble_with_counting_changes_nothing() -> None:
    house = Watched(found("fail"))

    def broken(seen: Seen) -> None:
        raise OSError("no")

    house.reception = msgspec.structs.replace(
        house.reception, observer=msgspec.structs.replace(house.reception.observer, seen=broken)
    )
    assert await last(house) == 250
    assert house.journal.alarms[0][1]["at"] == "counting for reports"


# --- failures -----------------------------------------------------------------------------------------------------


def facts_of(*fields: tuple[str, str], sender: str = "x@sender.test") -> Facts:
    message = Message("m1", 100, (("From", "Ann <ann@a.d.test>"), ("To", "ben@contoso.com"), *fields))
    return Facts(NOW, connection_of(), Envelope(address(sender) if sender else None), (), message)


@pytest.mark.parametrize(
    ("options", "spf", "told"),
    [("0", "fail", True), ("1", "pass", True), ("d", "pass", True), ("s", "pass", False), ("s", "fail", True),
     ("d:s", "pass", True), ("x", "fail", False)],
)  # fmt: skip
def test_only_what_the_domain_asks_for_is_told(options: str, spf: str, told: bool) -> None:
    answer = found("fail", published=f"p=none; fo={options}", spf=spf)
    assert may_be_shown(facts_of(), answer) is told


@pytest.mark.parametrize(
    "facts",
    [
        facts_of(sender=""), facts_of(("Auto-Submitted", "auto-replied")),
        facts_of(("Content-Type", "multipart/report; report-type=feedback-report")),
        facts_of(("Content-Type", "message/feedback-report")),
    ],
)  # fmt: skip
def test_reports_and_automatic_mail_are_never_told_of(facts: Facts) -> None:
    assert not may_be_shown(facts, found("fail"))
    assert may_be_shown(facts_of(("Auto-Submitted", "no")), found("fail"))


async def test_a_failure_names_nobody() -> None:
    house = Watched(found("fail"))
    assert await last(house, sender="bob.smith@sender.test") == 250
    (failed,) = house.failures
    told = msgspec.json.encode(failed).decode()
    assert "bob.smith" not in told and "ben@" not in told and "Hello" not in told
    report = failed.report
    assert (report.domain, report.source, report.delivery) == ("a.d.test", "198.51.100.7", "delivered")
    assert report.mail_from.startswith("~") and report.mail_from.endswith("@sender.test")
    assert "Subject" not in dict(report.headers)
    assert report.results.startswith("mx.lockgate.test; dmarc=fail header.from=a.d.test; spf=fail; dkim=fail")


def test_an_organisation_may_hide_more() -> None:
    all_of_it = Redactor(Masking.ALL, subjects=True, facts=True, key=b"k")
    assert hiding(None, b"k").masking is Masking.LOCAL_PARTS
    assert hiding(all_of_it, b"k").masking is Masking.ALL


def test_a_null_sender_claims_no_scope() -> None:
    row = row_of(facts_of(sender=""), found("fail"), "none", (), "198.51.100.7")
    assert [one.scope for one in row.senders] == [""]


# --- reports that arrive -------------------------------------------------------------------------------------------

READING = CONTOSO.replace('name = "contoso"\n', 'name = "contoso"\nreport_addresses = ["BEN@contoso.com"]\n', 1)


async def test_mail_to_a_report_address_is_delivered_and_read() -> None:
    house = Watched(policy=READING)
    assert await last(house, "ben@contoso.com", "amy@contoso.com") == 250
    (letter,) = house.letters
    assert letter.octets.startswith(b"Subject: Hello\r\n") and letter.octets.endswith(b"Hello\r\n")
    assert letter.organisation == "contoso"
    assert "198.51.100.7" in letter.origin
    await house.settle()
    assert house.statuses()["ben@contoso.com"] == "Delivered"
    house = Watched(policy=READING)
    assert await last(house, "amy@contoso.com") == 250
    assert house.letters == []


async def test_a_full_place_for_letters_is_told_and_no_trouble() -> None:
    house = Watched(policy=READING, full=True)
    assert await last(house) == 250
    assert house.journal.named("report not read")


async def test_mail_with_reports_is_not_reported_on() -> None:
    house = Watched(found("fail"), policy=READING + SENDING)
    assert await last(house) == 250
    assert house.counted == house.failures == []
    assert "DMARC fail" in house.letters[0].origin
    house = Watched(found("fail"), policy=READING + SENDING)
    assert await last(house, "ben@contoso.com", "amy@contoso.com") == 250
    assert len(house.counted) == 1
