"""Whose mail is signed when it leaves, and by which domain."""

from __future__ import annotations

import msgspec
import pytest

from lockgate.decision.signing import signing_domains, signs, signs_letter
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Defer, Deliver, Direction, Hold, Route, Standing, Verdict, Via
from lockgate.testing.builders import address, policy_of

BARE = """
[[organisation]]
name = "contoso"
[[organisation]]
name = "fabrikam"
[[accepted_domain]]
domain_name = "contoso.com"
organisation = "contoso"
vouched_by_operator = true
[[accepted_domain]]
domain_name = "relay.contoso.net"
organisation = "contoso"
vouched_by_operator = true
domain_type = "internal_relay"
match_sub_domains = true
[[accepted_domain]]
domain_name = "contoso.initial.test"
organisation = "contoso"
vouched_by_operator = true
initial_domain = true
[[accepted_domain]]
domain_name = "bücher.test"
organisation = "contoso"
vouched_by_operator = true
default = true
[[accepted_domain]]
domain_name = "unproven.test"
organisation = "contoso"
[[accepted_domain]]
domain_name = "fabrikam.test"
organisation = "fabrikam"
vouched_by_operator = true
"""
CONFIG = '[[dkim_signing_config]]\norganisation = "contoso"\ndomain_name = "{}"\n'
IDN = "xn--bcher-kva.test"


def policy(*domains: str, more: str = ""):
    return policy_of(BARE + "".join(CONFIG.format(domain) for domain in domains) + more)


OWN = Standing("contoso", Direction.ORIGINATING, own_domain=True)
OUT = Deliver(Route(Via.MX, "contoso", domain="away.test"), address("x@away.test"))


def verdict(disposition=OUT, standing: Standing = OWN, to: str = "x@away.test") -> Verdict:
    return Verdict(RecipientId(address(to)), address(to), standing, disposition=disposition)


def test_own_mail_that_leaves_is_signed() -> None:
    assert signs(policy("contoso.com"), verdict())
    assert signs(policy("contoso.com"), verdict(to="x@fabrikam.test"))


@pytest.mark.parametrize(
    ("one", "null_sender"),
    [
        (verdict(standing=msgspec.structs.replace(OWN, direction=Direction.INCOMING)), False),
        (verdict(standing=msgspec.structs.replace(OWN, own_domain=False)), False),
        (verdict(standing=Standing("contoso")), True),
        (verdict(standing=Standing("fabrikam", Direction.ORIGINATING, own_domain=True)), False),
        (verdict(standing=Standing("", Direction.ORIGINATING, own_domain=True)), False),
        (verdict(Deliver(Route(Via.MAILBOX, "contoso"), address("a@contoso.com")), to="a@contoso.com"), False),
        (verdict(Deliver(Route(Via.CONNECTOR, "contoso", "HQ"), address("a@contoso.com")), to="a@contoso.com"), False),
    ],
    ids=["incoming", "another's domain", "a stranger's report", "no configuration", "nobody's", "mailbox", "inside"],
)
def test_all_else_is_not(one: Verdict, null_sender: bool) -> None:
    assert not signs(policy("contoso.com"), one, null_sender=null_sender)


def test_reports_and_automatic_replies_of_own_servers_are() -> None:
    one = verdict(standing=msgspec.structs.replace(OWN, own_domain=False))
    assert signs(policy("contoso.com"), one, null_sender=True)


@pytest.mark.parametrize("waiting", [Hold("why"), Hold("why", pending=True), Defer(Reply(451, "4.0.0", "later")), None])
def test_what_waits_for_a_decision_counts_as_leaving(waiting) -> None:
    assert signs(policy("contoso.com"), verdict(waiting))
    assert not signs(policy(), verdict(waiting))


def test_without_a_configuration_nothing_is_signed() -> None:
    assert not signs(policy(), verdict())
    disabled = policy(more=CONFIG.format("contoso.com") + "enabled = false\n")
    assert not signs(disabled, verdict())
    assert signing_domains(policy(), "contoso", "contoso.com") == ()


def test_our_letters_are_signed_when_they_leave() -> None:
    assert signs_letter(policy("contoso.com"), "contoso", verdict())
    assert not signs_letter(policy("contoso.com"), "contoso", verdict(to="ann@contoso.com"))
    assert not signs_letter(policy("contoso.com"), "fabrikam", verdict())
    assert not signs_letter(policy("contoso.com"), "contoso", verdict(Hold("why")))
    assert not signs_letter(policy(), "contoso", verdict())


@pytest.mark.parametrize(
    ("configured", "author", "domains"),
    [
        (("contoso.com",), "contoso.com", ("contoso.com",)),
        (("contoso.com",), IDN, ()),
        (("contoso.com", "contoso.initial.test"), IDN, ("contoso.initial.test",)),
        (("contoso.com", "bücher.test"), "stranger.test", (IDN,)),
        (("contoso.com", "bücher.test", "contoso.initial.test"), "stranger.test", ("contoso.initial.test",)),
        (("contoso.com", "bücher.test"), "fabrikam.test", (IDN,)),
        (("contoso.com", "bücher.test"), "contoso.com", ("contoso.com", IDN)),
        (("relay.contoso.net", "bücher.test"), "deep.relay.contoso.net", ("relay.contoso.net", IDN)),
        (("deep.relay.contoso.net", "relay.contoso.net"), "deep.relay.contoso.net",
         ("deep.relay.contoso.net", "relay.contoso.net")),
        (("contoso.com", "bücher.test"), "deep.contoso.com", (IDN,)),
        (("contoso.com", "bücher.test"), "", (IDN,)),
        (("unproven.test", "bücher.test"), "unproven.test", (IDN,)),
    ],
)  # fmt: skip
def test_the_authors_domain_signs_else_the_initial_else_the_default_one(configured, author, domains) -> None:
    assert signing_domains(policy(*configured), "contoso", author) == domains
