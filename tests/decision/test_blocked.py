"""A blocked own-server connector gives no right any more, and mail to own recipients goes on (specification 1.3)."""

from __future__ import annotations

from decision.judging import fates, ruled, settled, why
from lockgate.decision.stage import Depth
from lockgate.mail.facts import Point
from lockgate.mail.findings import Blocking, IsBlocked, Unknown
from lockgate.mail.ruling import Direction
from lockgate.testing.builders import connection_of, facts_of, people, policy_of, who_of

OWN = "192.0.2.25"
TEXT = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[inbound_connector]]
name = "Branch"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
[[outbound_connector]]
name = "hq"
connector_type = "on_premises"
use_mx_record = false
smart_hosts = ["hq.test"]
all_accepted_domains = true
{more}
"""
POLICY = policy_of(TEXT.format(more=""))
LOCKED = policy_of(TEXT.format(more="""
[[inbound_connector]]
name = "Gateway"
sender_domains = ["*"]
require_tls = false
restrict_domains_to_ip_addresses = true
sender_ip_addresses = ["198.51.100.0/24"]
"""))
BLOCK = Blocking("b0c4", 1_900_000_000.0, "a jump in volume", "lockgate", suspected=True)


def asking(answer):
    directory = people(who_of("contoso", "ann@contoso.com"))
    asked = []

    def ask(questions):
        asked.extend(questions)
        mine = {one: answer for one in questions if isinstance(one, IsBlocked)}
        return {**directory(tuple(one for one in questions if one not in mine)), **mine}

    return ask, asked


def facts(sender="scanner@contoso.com", *recipients, peer=OWN):
    return facts_of(sender, *(recipients or ("x@far.test", "ann@contoso.com")), connection=connection_of(peer))


def test_relay_is_refused_and_mail_to_own_recipients_goes_on_without_rights():
    ask, _ = asking(BLOCK)
    ruling = ruled(POLICY, facts(), ask)
    assert fates(ruling) == ["550 5.7.711", "-> contoso/hq ann@contoso.com"]
    out, own = ruling.recipients
    told = "it is blocked since 2030-03-17 17:46:40Z because a jump in volume (by lockgate, b0c4)"
    assert why(out) == f"connector Branch: {told}"
    assert "suspected of being compromised (block b0c4)" in str(out.disposition.reply)
    assert "a jump in volume" not in str(out.disposition.reply), "why in particular is not for who holds the server"
    standing = own.standing
    assert (standing.direction, standing.inbound_connector) == (Direction.INCOMING, "")
    assert standing.blocked_connector == "Branch" and not standing.relay


def test_a_person_s_block_says_so():
    ask, _ = asking(Blocking("b1", 1.0, "the server is being rebuilt", "0 root"))
    reply = ruled(POLICY, facts(), ask).recipients[0].disposition.reply
    assert "an administrator has blocked it (block b1)" in str(reply)


def test_without_the_exemption_the_partner_connectors_hold():
    ask, _ = asking(BLOCK)
    assert fates(ruled(LOCKED, facts("x@contoso.com", "ann@contoso.com"), ask)) == ["550 5.7.51"]
    ask, _ = asking(Blocking())
    assert fates(ruled(LOCKED, facts("x@contoso.com", "ann@contoso.com"), ask)) == ["-> contoso/hq ann@contoso.com"]


def test_it_is_asked_once_and_only_where_a_connector_gives_rights():
    ask, asked = asking(Blocking())
    assert fates(ruled(POLICY, facts(), ask)) == ["-> contoso/mx:far.test x@far.test", "-> contoso/hq ann@contoso.com"]
    assert [one for one in asked if isinstance(one, IsBlocked)] == [IsBlocked("contoso", "Branch")]
    ask, asked = asking(Blocking())
    ruled(POLICY, facts("x@sender.test", "ann@contoso.com", peer="198.51.100.9"), ask)
    assert not [one for one in asked if isinstance(one, IsBlocked)]


def test_what_cannot_be_looked_up_is_put_off():
    ask, _ = asking(Unknown("the file is damaged"))
    assert fates(ruled(LOCKED, facts(), ask)) == ["451 4.3.0", "451 4.3.0"]


def test_in_full_it_says_that_it_looked():
    ask, _ = asking(Blocking())
    _, ruling = settled(POLICY, facts(), ask, Point.RCPT, depth=Depth.FULL)
    assert any(step.stage == "blocked" and "not blocked" in step.because for step in ruling.recipients[0].steps)
