"""Letters of mail flow rules: kept with the message or before its refusal, each once, never about themselves."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from typing import Any

import msgspec
import pytest

from flow.house import CONTOSO, House
from lockgate.mail import replies
from lockgate.mail.address import Address
from lockgate.mail.envelope import Envelope
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Defer, Disposition, Hold, Ruling
from lockgate.mail.task import NewMessage
from lockgate.seams import Unavailable
from lockgate.testing.builders import address, people, who_of

BEN, AMY, SOC = (Address(name, "contoso.com") for name in ("ben", "amy", "soc"))
REPORT = (
    'generate_incident_report = {report_to = "soc@contoso.com", content = ["sender", "recipients", "subject", "cc", '
    '"bcc", "severity", "override", "false_positive", "data_classifications", "id_match", "rule_detections", '
    '"attach_original_mail"]}\n'
)
NOTE = 'generate_notification = "about %%Subject%%"\n'
RULE = f'[[mail_flow_rule]]\nname = "Tell"\nset_audit_severity = "medium"\n{REPORT}{NOTE}'


def letters(house: House) -> list[NewMessage]:
    return [new for new in house.spool.messages.values() if new.traces[0].events[0].kind == "Rule"]


def to(house: House, kind: str) -> list[str]:
    """Whom the letters of a kind go to."""
    return [
        trace.recipient for trace in house.spool.traces.values()
        if trace.events[0].kind == "Rule" and trace.events[0].detail.startswith(kind)
    ]  # fmt: skip


def text(house: House, new: NewMessage) -> str:
    return house.spool._bodies[new.body].decode("utf-8", "replace")


def parsed(house: House, new: NewMessage) -> EmailMessage:
    found = email.message_from_string(text(house, new), policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def told(house: House, new: NewMessage) -> list[str]:
    body = parsed(house, new).get_body(("plain",))
    assert body is not None
    return str(body.get_content()).splitlines()


def breaks_accept(house: House) -> None:
    async def accept(*_: Any) -> Any:
        raise Unavailable("the disk is full")

    house.spool.accept = accept  # type: ignore[method-assign]


async def test_one_report_and_a_note_each_are_kept_with_the_message() -> None:
    house = House(policy=CONTOSO + RULE)
    calls: list[int] = []
    accept = house.spool.accept

    async def counted(new: NewMessage, others: Any = ()) -> Any:
        calls.append(1 + len(others))
        return await accept(new, others)

    house.spool.accept = counted  # type: ignore[method-assign]
    said = await house.send(str(BEN), str(AMY))
    assert [reply.code for reply in said] == [250] * 4
    assert calls == [4], "all or nothing"
    assert to(house, "incident report") == [str(SOC)]
    assert sorted(to(house, "notification")) == [str(AMY), str(BEN)]
    await house.settle()
    await house.later(1.0)
    assert set(house.statuses().values()) == {"Delivered"}
    assert all(new.envelope.sender is None for new in letters(house))


async def test_what_cannot_be_kept_together_is_not_kept_at_all() -> None:
    house = House(policy=CONTOSO + RULE)
    breaks_accept(house)
    said = await house.send(str(BEN))
    assert said[-1].code in (451, 452)
    assert not house.spool.messages


async def test_refused_mail_is_reported_first_and_refused_only_then() -> None:
    refused = RULE + "reject_message = {}\n"
    house = House(policy=CONTOSO + refused)
    assert (await house.send(str(BEN), str(AMY)))[-1].code == 550
    assert to(house, "incident report") == [str(SOC)] and len(to(house, "notification")) == 2
    assert len(house.spool.refusals) == 2
    await house.settle()
    await house.later(1.0)
    assert set(house.statuses().values()) == {"Delivered"}, "whoever kept them carries them"

    house = House(policy=CONTOSO + refused)
    breaks_accept(house)
    said = await house.send(str(BEN))
    assert said[-1].code in (451, 452), "the peer asks again: what is to be told is not lost"
    assert not house.spool.messages and not house.spool.refusals


def puts_off(house: House, whom: list[Address], disposition: Disposition) -> None:
    """From now on these are put off, whatever the judge says."""
    judged = house.judge

    def put_off(policy: Any, facts: Any, *more: Any) -> Any:
        ruling = judged(policy, facts, *more)
        if not isinstance(ruling, Ruling) or facts.message is None:
            return ruling
        verdicts = tuple(
            msgspec.structs.replace(one, disposition=disposition) if one.recipient.original in whom else one
            for one in ruling.recipients
        )
        return msgspec.structs.replace(ruling, recipients=verdicts)

    house.judge = put_off


async def test_whoever_is_put_off_is_told_of_later_and_nobody_twice() -> None:
    house = House(policy=CONTOSO + RULE)
    waiting = [AMY]
    puts_off(house, waiting, Defer(replies.NOT_FOUND_OUT))
    assert (await house.send(str(BEN), str(AMY)))[-1].code == 250
    assert to(house, "incident report") == [str(SOC)] and to(house, "notification") == [str(BEN)]
    await house.later(61.0)
    assert to(house, "notification") == [str(BEN)], "she still waits"
    waiting.clear()
    await house.later(601.0)
    await house.later(1.0)
    assert house.statuses()[str(AMY)] == "Delivered"
    assert to(house, "incident report") == [str(SOC)], "one for each message and rule"
    assert to(house, "notification") == [str(BEN), str(AMY)]


async def test_a_task_that_is_judged_twice_writes_its_letters_once() -> None:
    """As after a kill between the letters and what becomes of the task."""
    house = House(policy=CONTOSO + RULE)
    waiting, tasks = [BEN, AMY], list[Any]()
    puts_off(house, waiting, Hold("answers", pending=True))
    house.spool.receive_with(tasks.extend)  # nobody works on them here
    assert (await house.send(str(BEN), str(AMY)))[-1].code == 250
    assert letters(house) == []
    waiting.clear()
    house.clock.move(61.0)
    house.spool.assign()
    (task,) = tasks
    for _ in range(3):
        await house.reconsider.judge(task, house.clock.now(), house.clock.now() + 60)
    assert to(house, "incident report") == [str(SOC)]
    assert sorted(to(house, "notification")) == [str(AMY), str(BEN)]


async def test_on_release_nobody_is_told_again() -> None:
    house = House(policy=CONTOSO + RULE + "quarantine = true\n")
    assert (await house.send(str(BEN)))[-1].code == 250
    assert house.statuses()[str(BEN)] == "Held" and len(letters(house)) == 2
    assert await house.spool.queue_edit("release", {"recipient": str(BEN)}, "ann") == 1
    for _ in range(3):
        await house.later(1.0)
    assert house.statuses()[str(BEN)] == "Delivered" and len(letters(house)) == 2


async def test_a_report_without_its_original_is_better_than_none() -> None:
    house = House(policy=CONTOSO + RULE)
    waiting = [BEN]
    puts_off(house, waiting, Hold("answers", pending=True))
    assert (await house.send(str(BEN)))[-1].code == 250
    waiting.clear()

    async def read(_: Any) -> bytes:
        raise FileNotFoundError("gone")

    whole, house.spool.read = house.spool.read, read  # type: ignore[method-assign]
    await house.later(61.0)
    house.spool.read = whole  # type: ignore[method-assign]
    assert to(house, "incident report") == [str(SOC)]
    assert any("cannot be attached" in alarm for alarm, _ in house.journal.alarms)


TWO = """
[[organisation]]
name = "fabrikam"
[[accepted_domain]]
organisation = "fabrikam"
domain_name = "fabrikam.com"
vouched_by_operator = true
[[outbound_connector]]
organisation = "fabrikam"
name = "hq"
connector_type = "on_premises"
use_mx_record = false
smart_hosts = ["hq.fabrikam.test"]
all_accepted_domains = true
"""


async def test_a_report_knows_the_recipients_of_its_own_organisation_alone() -> None:
    named = CONTOSO.replace("[[accepted_domain]]\n", '[[accepted_domain]]\norganisation = "contoso"\n')
    for table in ("inbound", "outbound"):
        named = named.replace(f"[[{table}_connector]]\n", f'[[{table}_connector]]\norganisation = "contoso"\n')
    house = House(policy=named + TWO + RULE.replace("\nname", '\norganisation = "contoso"\nname'))
    house.ask = people(who_of("contoso", str(BEN)), who_of("fabrikam", "fay@fabrikam.com"))
    assert (await house.send(str(BEN), "fay@fabrikam.com"))[-1].code == 250
    (report,) = [new for new in letters(house) if new.traces[0].recipient == str(SOC)]
    lines = told(house, report)
    assert f"Bcc: {BEN}" in lines and f"    for: {BEN}" in lines
    assert "fabrikam" not in text(house, report) and "fabrikam" not in "\n".join(lines)
    assert [line for line in lines if line.endswith(": none")] == [
        "From: none", "Recipients: none", "Cc: none", "Override: none", "False positive: none",
        "Data classifications: none", "ID match: none",
    ]  # fmt: skip
    assert "Severity: medium" in lines


@pytest.mark.parametrize(
    ("change", "sender", "reported"),
    [
        (lambda mark: mark, "", False),
        (lambda mark: mark, "x@sender.test", True),
        (lambda mark: mark[:-1] + ("0" if mark[-1] != "0" else "1"), "", True),
        (lambda mark: "a " + mark.split()[1] + " " + mark.split()[2], "", True),
        (lambda mark: "٣ ٣ ٣", "", True),
        (lambda mark: "1 99999999999999999999999 3", "", True),
        (lambda mark: "", "", True),
    ],
)
async def test_no_letter_about_a_letter(change: Any, sender: str, reported: bool) -> None:
    house = House(policy=CONTOSO + RULE)
    await house.send(str(BEN))
    before = len(letters(house))
    mark = parsed(house, letters(house)[0])["X-Lockgate-Letter"]
    field = f"X-Lockgate-Letter: {change(mark)}\r\n".encode()
    assert (await house.send(str(AMY), sender=sender, fields=field))[-1].code == 250
    assert (len(letters(house)) > before) == reported


async def test_an_old_mark_is_worth_nothing() -> None:
    house = House(policy=CONTOSO + RULE)
    await house.send(str(BEN))
    before = len(letters(house))
    mark = parsed(house, letters(house)[0])["X-Lockgate-Letter"]
    house.clock.move(4 * 86400.0)
    await house.send(str(AMY), sender="", fields=f"X-Lockgate-Letter: {mark}\r\n".encode())
    assert len(letters(house)) > before


async def test_an_original_that_is_too_large_is_told_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockgate.mail.rule_letters.ATTACHED_LIMIT", 100)
    house = House(policy=CONTOSO + RULE)
    guest = house.guest()
    guest.mail(Envelope(address("x@sender.test")))
    guest.rcpt(RecipientId(BEN))
    body = guest.begin()
    body.write(b"Subject: \xc3\xa4 large\r\nX-Big: yes\r\n\r\n" + b"secret line\r\n" * 50)  # type: ignore[union-attr]
    assert (await guest.done(body)).code == 250  # type: ignore[arg-type]
    (report,) = [new for new in letters(house) if new.traces[0].recipient == str(SOC)]
    whole = text(house, report)
    assert "X-Big: yes" in whole and "secret line" not in whole and "too large to be attached" in whole
