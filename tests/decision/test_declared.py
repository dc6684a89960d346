"""What says itself that it is too large is refused before it is sent: for all at MAIL, for an organisation at RCPT."""

from __future__ import annotations

import msgspec
import pytest

from decision.judging import fates, ruled, settled, why
from lockgate.decision.stage import Depth
from lockgate.mail.facts import Facts, Point
from lockgate.testing.builders import connection_of, facts_of, people, policy_of, who_of

TWO = """
[operator.limits]
message_size = 500000
[[organisation]]
name = "contoso"
max_receive_size = 3000
max_send_size = 2000
[[accepted_domain]]
organisation = "contoso"
domain_name = "contoso.com"
vouched_by_operator = true
[[inbound_connector]]
organisation = "contoso"
name = "onprem"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
[[organisation]]
name = "fabrikam"
[[accepted_domain]]
organisation = "fabrikam"
domain_name = "fabrikam.com"
vouched_by_operator = true
"""
POLICY = policy_of(TWO)
PEOPLE = people(who_of("contoso", "u@contoso.com"), who_of("fabrikam", "u@fabrikam.com"))
BOTH = ("u@contoso.com", "u@fabrikam.com")


def facts(size: int, *recipients: str, sender: str = "x@sender.test", peer: str = "198.51.100.7") -> Facts:
    plain = facts_of(sender, *recipients, connection=connection_of(peer))
    return msgspec.structs.replace(plain, envelope=msgspec.structs.replace(plain.envelope, size=size))


@pytest.mark.parametrize(("size", "refused"), [(0, False), (1, False), (500000, False), (500001, True), (10**18, True)])
def test_the_operator_s_limit_holds_for_everybody_at_mail(size: int, refused: bool) -> None:
    ruling = ruled(POLICY, facts(size), until=Point.MAIL)
    if not refused:
        assert ruling.refusal is None
        return
    assert str(ruling.refusal).startswith("552 5.3.4 ")
    (step,) = [step for step in ruling.steps if step.stage == "declared"]
    assert (step.subject, step.effect) == ("size limit", "refused")
    assert step.because == f"the message is said to have {size} octets, 500000 are allowed"


@pytest.mark.parametrize(("size", "contoso"), [(0, "undecided"), (3000, "undecided"), (3001, "552 5.3.4")])
def test_an_organisation_s_limit_holds_for_its_recipients_at_rcpt(size: int, contoso: str) -> None:
    ruling = ruled(POLICY, facts(size, *BOTH), PEOPLE, Point.RCPT)
    assert fates(ruling) == [contoso, "undecided"]
    if size > 3000:
        assert why(ruling.recipients[0]) == (
            f"size limit of the organisation: the message is said to have {size} octets, contoso allows 3000"
        )


@pytest.mark.parametrize(("size", "fate"), [(2000, "undecided"), (2001, "552 5.3.4")])
def test_what_leaves_is_held_to_what_the_organisation_sends(size: int, fate: str) -> None:
    outbound = facts(size, "x@far.test", sender="u@contoso.com", peer="192.0.2.25")
    assert fates(ruled(POLICY, outbound, PEOPLE, Point.RCPT)) == [fate]


def test_the_directory_is_not_asked_about_what_is_too_large() -> None:
    asked = []

    def ask(questions):
        asked.extend(questions)
        return PEOPLE(questions)

    assert fates(ruled(POLICY, facts(3001, "u@contoso.com"), ask, Point.RCPT)) == ["552 5.3.4"]
    assert not asked


def test_at_full_depth_it_is_told_that_it_was_looked_at() -> None:
    _, ruling = settled(POLICY, facts(1000, "u@contoso.com"), PEOPLE, Point.RCPT, depth=Depth.FULL)
    told = [step.because for step in (*ruling.steps, *ruling.recipients[0].steps) if step.stage == "declared"]
    assert told == [
        "the message is said to have 1000 octets, 500000 are allowed",
        "the message is said to have 1000 octets, contoso allows 3000",
    ]
    _, silent = settled(POLICY, facts(0, "u@contoso.com"), PEOPLE, Point.RCPT, depth=Depth.FULL)
    assert not [step for step in (*silent.steps, *silent.recipients[0].steps) if step.stage == "declared"]
