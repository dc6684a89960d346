"""Who is told what became of a message, and what the trace says where nobody is (DESIGN 2, specification 1.5, 1.20)."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from flow.house import CONTOSO, OURS, House
from flow.test_delivery import NEVER, Script, reports
from flow.test_intake import LATER, NO, at_data
from lockgate.flow.letter import Authentication
from lockgate.mail.authentication import Authenticated
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Defer, Refuse
from lockgate.testing.builders import address, policy_of
from lockgate.testing.sender import ListedAuthenticator, authenticated

ANTI_PHISHING = """
[[anti_phishing_policy]]
name = "Default"
"""
BEN, AMY = "ben@contoso.com", "amy@contoso.com"
PROVEN, FORGED = authenticated("pass"), authenticated("fail", "none")
UNPROVEN = msgspec.structs.replace(authenticated("none"), spf=msgspec.structs.replace(PROVEN.spf, verdict="neutral"))


def house_of(found: Authenticated | None, script: Script | None = None, settings: str = "") -> tuple[House, list]:
    """A house that asks who sent it where there is an answer; and what it asked."""
    house = House(script or Script(), policy=CONTOSO + settings + (ANTI_PHISHING if found is not None else ""))
    authenticator = ListedAuthenticator(found or UNPROVEN)
    asking = Authentication(authenticator, asyncio.Semaphore(2))
    house.reception = msgspec.structs.replace(house.reception, authentication=asking)
    return house, authenticator.asked


def status_of(house: House, whom: str) -> str:
    return next(str(row.status) for row in house.spool.traces.values() if row.recipient == whom)


def said_of(house: House, whom: str) -> str:
    """The words of the trace about this recipient of the message."""
    (row,) = [t for t in house.spool.traces.values() if t.recipient == whom]
    return " | ".join(event.detail for event in row.events)


SENDERS = [
    (PROVEN, "x@sender.test", ""),
    (UNPROVEN, "x@sender.test", "neither SPF nor a signature proves sender.test"),
    (FORGED, "x@sender.test", "SPF failed for sender.test"),
    (PROVEN, "", "the message came from the null sender"),
    (None, "x@sender.test", "nothing proves the sender, and nobody was asked"),
]


@pytest.mark.parametrize(("found", "sender", "because"), SENDERS)
@pytest.mark.parametrize("when", ["at once", "later"])
async def test_a_refusal_after_250_is_told_to_the_proven_and_held_for_all_others(
    found: Authenticated | None, sender: str, because: str, when: str
) -> None:
    house, _ = house_of(found)
    house.judge = at_data(None, Refuse(NO) if when == "at once" else Defer(LATER))
    assert (await house.send(BEN, AMY, sender=sender))[-1].code == 250
    house.judge = at_data(Refuse(NO))
    await house.later(61)
    await house.settle()
    if not because:
        assert status_of(house, AMY) == "Failed"
        assert len(reports(house)) == 1
        return
    assert status_of(house, AMY) == "Held"
    assert f"refused ({NO}), sender not told, because {because}" in said_of(house, AMY)
    assert [new.subject for new in house.spool.messages.values()] == ["Hello"], "nobody was told"


@pytest.mark.parametrize(("found", "sender", "because"), SENDERS)
@pytest.mark.parametrize("how", ["next hop", "life over", "life over, never judged"])
async def test_a_failure_after_acceptance_is_told_unless_the_sender_is_forged(
    found: Authenticated | None, sender: str, because: str, how: str
) -> None:
    house, _ = house_of(found, Script(amy=NEVER if how == "next hop" else LATER))
    if how == "life over, never judged":
        house.judge = at_data(None, Defer(LATER))
    assert (await house.send(BEN, AMY, sender=sender))[-1].code == 250
    await house.settle()
    if how == "life over, never judged":
        house.judge = at_data(Defer(LATER))
    if how != "next hop":
        await house.later(7300)
    await house.settle()
    assert status_of(house, AMY) == "Failed"
    told = [report["Subject"] for report in reports(house) if report["To"]]
    if found is FORGED:
        assert "sender not told, because it may be forged: SPF or DMARC failed for it" in said_of(house, AMY)
        assert not told
    elif not sender:
        assert "sender not told, because the message came from the null sender" in said_of(house, AMY)
        assert not told
    else:
        assert "sender told by report" in said_of(house, AMY)
        assert told == ["Your message was not delivered"]


async def test_a_forged_sender_hears_nothing_of_delays() -> None:
    for found, told in ((FORGED, 0), (UNPROVEN, 1), (PROVEN, 1)):
        house, _ = house_of(found, Script(amy=LATER))
        await house.send(AMY)
        await house.settle()
        await house.later(1900)
        await house.settle()
        assert len(reports(house)) == told


@pytest.mark.parametrize(("found", "told"), [(PROVEN, 1), (UNPROVEN, 0), (FORGED, 0)])
async def test_success_is_told_to_a_sender_that_is_aligned(found: Authenticated, told: int) -> None:
    house, _ = house_of(found)
    await house.send(RecipientId(address(AMY), notify=("SUCCESS",)))
    await house.settle()
    assert len(reports(house)) == told
    assert ("success not reported, because the sender is not proven" in said_of(house, AMY)) is (not told)


async def test_who_decided_before_it_came_to_ask_asks_before_it_tells() -> None:
    house, asked = house_of(PROVEN)

    def refuses_early(policy, facts, until, so_far=None):
        return at_data(None, Refuse(NO))(policy_of(CONTOSO), facts, until, so_far)

    house.judge = refuses_early
    assert (await house.send(BEN, AMY))[-1].code == 250
    assert len(asked) == 1
    house.judge = at_data(Refuse(NO))
    await house.later(1)
    await house.settle()
    assert status_of(house, AMY) == "Failed"
    assert len(reports(house)) == 1


async def test_what_is_refused_only_when_it_is_judged_again_asks_then() -> None:
    house, asked = house_of(PROVEN)
    reconsider = msgspec.structs.replace(
        house.delivery._with.reconsider, authentication=house.reception.authentication
    )
    house.delivery._with = msgspec.structs.replace(house.delivery._with, reconsider=reconsider)

    def early(*dispositions):
        return lambda policy, facts, until, so_far=None: at_data(*dispositions)(
            policy_of(CONTOSO), facts, until, so_far
        )

    house.judge = early(None, Defer(LATER))
    assert (await house.send(BEN, AMY))[-1].code == 250
    assert not asked, "so far nobody would be told"
    house.judge = early(Refuse(NO))
    await house.later(61)
    await house.settle()
    assert len(asked) == 1
    assert status_of(house, AMY) == "Failed"
    assert len(reports(house)) == 1


async def test_the_trace_speaks_of_each_recipient_for_itself() -> None:
    house, _ = house_of(UNPROVEN, Script(amy=NEVER, ben=NEVER))
    await house.send(BEN, RecipientId(address(AMY), notify=("NEVER",)))
    await house.settle()
    assert "sender told by report" in said_of(house, BEN)
    assert "sender not told, because it asked for no report of this kind (failed)" in said_of(house, AMY)
    (report,) = reports(house)
    assert report.as_string().count("Final-Recipient: ") == 1


# --- what the message and the destination want ----------------------------------------------------------------------

AUTO = b"Auto-Submitted: auto-generated (nightly)\r\n"


async def late_and_failed(fields: bytes, *notify: str, settings: str = "") -> tuple[list[str], str]:
    """The reports about a message that is late and then fails, and what the trace says of it."""
    house, _ = house_of(None, Script(amy=LATER), settings)
    await house.send(RecipientId(address(AMY), notify=notify), fields=fields)
    await house.settle()
    for seconds in (1900, 7300):
        await house.later(seconds)
        await house.settle()
    assert status_of(house, AMY) == "Failed"
    kinds = {"Your message is delayed": "delayed", "Your message was not delivered": "failed"}
    return [kinds[report["Subject"]] for report in reports(house)], said_of(house, AMY)


@pytest.mark.parametrize(
    ("fields", "notify", "told"),
    [
        (b"", (), ["delayed", "failed"]),
        (b"Auto-Submitted: no\r\n", (), ["delayed", "failed"]),
        (b"Precedence: first-class\r\n", (), ["delayed", "failed"]),
        (AUTO, (), ["failed"]),
        (b"AUTO-SUBMITTED:\r\n auto-replied; x=y\r\n", (), ["failed"]),
        (b"Precedence: Bulk\r\n", (), ["failed"]),
        (b"Precedence: list\r\n", (), ["failed"]),
        (b"Precedence: junk\r\n", (), ["failed"]),
        (b"List-Id: <news.sender.test>\r\n", (), ["failed"]),
        (b"List-Unsubscribe: <mailto:off@sender.test>\r\n", (), ["failed"]),
        (AUTO, ("DELAY", "FAILURE"), ["delayed", "failed"]),
        (AUTO, ("FAILURE",), ["failed"]),
        (b"X-Auto-Response-Suppress: OOF, AutoReply\r\n", (), ["delayed", "failed"]),
        (b"X-Auto-Response-Suppress: RN\r\n", (), ["delayed", "failed"]),
        (b"X-Auto-Response-Suppress: DR\r\n", (), ["failed"]),
        (b"X-Auto-Response-Suppress: RN,\r\n NDR\r\n", (), []),
        (b"X-Auto-Response-Suppress: all\r\n", ("FAILURE", "DELAY"), []),
    ],
)
async def test_automatic_mail_is_not_told_of_delays_and_nobody_of_what_it_does_not_want(
    fields: bytes, notify: tuple[str, ...], told: list[str]
) -> None:
    found, trace = await late_and_failed(fields, *notify)
    assert found == told
    if "failed" not in told:
        assert "sender not told, because X-Auto-Response-Suppress: " in trace


REMOTE = """
[[remote_domain]]
domain_name = "{domain}"
{setting} = false
"""


@pytest.mark.parametrize(
    ("domain", "setting", "told"),
    [
        ("sender.test", "ndr_enabled", []),
        ("*.test", "ndr_enabled", []),
        ("*", "ndr_enabled", []),
        ("other.test", "ndr_enabled", ["delayed", "failed"]),
        ("*", "delivery_report_enabled", ["delayed", "failed"]),
    ],
)
async def test_a_remote_domain_may_let_no_reports_of_failure_out(domain: str, setting: str, told: list[str]) -> None:
    found, trace = await late_and_failed(b"", settings=REMOTE.format(domain=domain, setting=setting))
    assert found == told
    silence = f"the remote domain {domain} lets no reports of failure out (ndr_enabled = false)"
    assert (f"sender not told, because {silence}" in trace) is (not told)


async def test_the_remote_domain_is_not_asked_about_mail_within_the_organisation() -> None:
    house, _ = house_of(None, Script(amy=NEVER), REMOTE.format(domain="*", setting="ndr_enabled"))
    await house.send(AMY, sender=BEN, peer=OURS)
    await house.settle()
    assert len(reports(house)) == 1


@pytest.mark.parametrize(
    ("fields", "settings", "why"),
    [
        (b"X-Auto-Response-Suppress: DR\r\n", "", "X-Auto-Response-Suppress: DR forbids it"),
        (b"X-Auto-Response-Suppress: NDR\r\n", "", ""),
        (AUTO, "", ""),
        (
            b"", REMOTE.format(domain="*", setting="delivery_report_enabled"),
            "the remote domain * lets no receipts out (delivery_report_enabled = false)",
        ),
        (b"", REMOTE.format(domain="*", setting="ndr_enabled"), ""),
    ],
)  # fmt: skip
async def test_success_that_is_not_reported_is_explained(fields: bytes, settings: str, why: str) -> None:
    house, _ = house_of(PROVEN, settings=settings)
    await house.send(RecipientId(address(AMY), notify=("SUCCESS",)), fields=fields)
    await house.settle()
    assert status_of(house, AMY) == "Delivered"
    assert len(reports(house)) == (not why)
    assert (f"success not reported, because {why}" in said_of(house, AMY)) is bool(why)
