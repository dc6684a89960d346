"""The four rights of a session, and the true source behind a gateway: why each hop is skipped, and whom it concerns."""

from __future__ import annotations

import msgspec
import pytest
import zstandard

from decision.judging import said, settled
from lockgate.decision.proof import Proof, sender_of
from lockgate.decision.stage import Depth
from lockgate.decision.true_source import Outcome, look_for_source
from lockgate.flow.retelling import differences, retold
from lockgate.mail.facts import Facts
from lockgate.mail.findings import NOT_CERTAIN, WhoSent
from lockgate.mail.headers import message_of
from lockgate.mail.record import Recorder
from lockgate.mail.ruling import Direction, Ruling, Standing, Verdict
from lockgate.testing.builders import certificate_of, connection_of, facts_of, people, policy_of, tls_of, who_of
from lockgate.testing.sender import authenticated

GATEWAY, SPAMMER, OURS = "198.51.100.25", "192.0.2.66", "203.0.113.25"
ANA, BOB = "ana@contoso.com", "bob@contoso.com"
POLICY = """
[[organisation]]
name = "contoso"
reject_direct_send = false
{organisation}
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[anti_phishing_policy]]
name = "Default"
[[inbound_connector]]
name = "Gateway"
sender_domains = ["{about}"]
sender_ip_addresses = ["198.51.100.0/24"]
restrict_domains_to_ip_addresses = true
require_tls = false
{gateway}
[[inbound_connector]]
name = "Own"
connector_type = "on_premises"
sender_ip_addresses = ["203.0.113.25"]
{own}
[[connection_filter]]
ip_allow_list = ["192.0.2.77", "{allowed}"]
ip_block_list = ["192.0.2.88"]
"""
PEOPLE = people(who_of("contoso", ANA, kind="mailbox"), who_of("contoso", BOB, kind="mailbox"))
LAST = "ef_skip_last_ip = true"


def document(gateway: str = LAST, own: str = "", organisation: str = "", allowed: str = "192.0.2.79", about="*") -> str:
    return POLICY.format(gateway=gateway, own=own, organisation=organisation, allowed=allowed, about=about)


def policy(gateway: str = LAST, own: str = "", organisation: str = "", allowed: str = "192.0.2.79", about="*"):
    return policy_of(document(gateway, own, organisation, allowed, about))


def received(*addresses: str) -> tuple[str, ...]:
    return tuple(f"Received: from h{n}.test (h{n}.test [{one}]) by x.test; today" for n, one in enumerate(addresses))


def mail(*fields: str, peer: str = GATEWAY, to: tuple[str, ...] = (ANA,), sender: str = "a@shop.test", **more) -> Facts:
    octets = ("\r\n".join([*fields, "From: a@shop.test", "Subject: x"]) + "\r\n\r\n").encode()
    message = message_of("0190-id", octets, len(octets), "house")
    return facts_of(sender, *to, connection=connection_of(peer, **more), message=message)


def judged(of, facts: Facts, depth: Depth = Depth.LIVE, answer=None) -> tuple[Facts, Ruling]:
    """Everybody is who he says, unless told otherwise; the questions that were asked are in the facts."""

    def ask(questions):
        found = {q: answer or authenticated("pass", domain="shop.test") for q in questions if isinstance(q, WhoSent)}
        return PEOPLE(tuple(q for q in questions if not isinstance(q, WhoSent))) | found

    return settled(of, facts, ask, depth=depth)


def one(of, facts: Facts, depth: Depth = Depth.LIVE) -> Verdict:
    (verdict,) = judged(of, facts, depth)[1].recipients
    return verdict


def steps(verdict: Verdict, *subjects: str) -> dict[str, str]:
    return {s.subject: f"{s.hit}: {s.because}" for s in verdict.steps if s.stage == "entitle" and s.subject in subjects}


# --- the true source --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gateway", "chain", "peer", "source"),
    [
        (LAST, [SPAMMER, "192.0.2.10"], GATEWAY, SPAMMER),
        (LAST, ["10.1.2.3", SPAMMER], GATEWAY, SPAMMER),
        (LAST, ["172.31.0.1", "192.168.9.9", "127.0.0.1", "169.254.1.1", "fe80::1", "fd00::7", SPAMMER], GATEWAY,
         SPAMMER),
        (LAST, ["198.51.100.7", SPAMMER], GATEWAY, "198.51.100.7"),  # only the last one is skipped
        (LAST, ["100.64.0.1", SPAMMER], GATEWAY, "100.64.0.1"),  # shared space is not private
        (LAST, ["203.0.113.1", SPAMMER], GATEWAY, "203.0.113.1"),  # documentation networks are ordinary
        (LAST, ["2001:db8::66"], GATEWAY, "2001:db8::66"),
        ('ef_skip_ips = ["198.51.100.0/24"]', ["198.51.100.7", SPAMMER], GATEWAY, SPAMMER),
        ('ef_skip_ips = ["198.51.100.25", "198.51.100.7-198.51.100.9"]', ["198.51.100.8", SPAMMER], GATEWAY, SPAMMER),
        ('ef_skip_ips = ["198.51.100.7"]', [SPAMMER], GATEWAY, ""),  # the peer itself is no hop that is skipped
        (LAST, ["10.0.0.1"], GATEWAY, ""),  # nobody outside is left
        (LAST, [], GATEWAY, ""),
        ("", [SPAMMER], GATEWAY, ""),
    ],
)  # fmt: skip
def test_the_first_hop_that_is_not_skipped_is_the_source(gateway, chain, peer, source) -> None:
    facts, ruling = judged(policy(gateway), mail(*received(*chain), peer=peer))
    (verdict,) = ruling.recipients
    assert verdict.standing.source == source
    helo = f"h{chain.index(source)}.test" if source else ""
    assert WhoSent("contoso", source, helo) in facts.findings


def test_why_each_hop_was_skipped_is_told() -> None:
    found = one(policy(), mail(*received("10.1.2.3", SPAMMER, "192.0.2.10")), Depth.FULL)
    hops = {s.subject: (s.hit.value, s.because, s.effect) for s in found.steps if s.subject.startswith("hop")}
    assert hops == {
        "hop 198.51.100.25": ("yes", "it is the connecting hop, which the connector skips", "skipped"),
        "hop 10.1.2.3": ("yes", "Received field 1 from the top: it is a private address (10.0.0.0/8)", "skipped"),
        "hop 192.0.2.66": (
            "no",
            "Received field 2 from the top names 192.0.2.66, which is none of the hops that are skipped: the true"
            " source",
            "",
        ),
    }
    live = one(policy(), mail(*received("10.1.2.3", SPAMMER)))
    assert [s.effect for s in live.steps if s.stage == "entitle"] == ["judged as sent by 192.0.2.66"]


HOSTILE = [
    "Received: by gw.test with HTTP; today",
    "Received: from x by gw.test; today",
    "Received: from x ([192.0.2.10]) (y [192.0.2.66]) by gw.test; today",
    "Received: from x ([0.0.0.0]) by gw.test; today",
    "Received: from x ([224.0.0.1]) by gw.test; today",
    "Received: " + "(" * 500,
    "Received:",
]


@pytest.mark.parametrize("field", HOSTILE)
def test_a_field_that_cannot_be_believed_ends_the_walk_and_no_address_counts(field: str) -> None:
    of = policy(allowed=GATEWAY)
    facts, ruling = judged(of, mail(field, *received("192.0.2.77")), Depth.FULL)
    (verdict,) = ruling.recipients
    assert verdict.standing.source == NOT_CERTAIN
    assert not verdict.standing.allowed_by_ip, "nobody gets the gateway's allowance by writing nonsense"
    told = steps(verdict, "true source")["true source"]
    assert "Received field 1 from the top is not believed" in told
    assert f"certain is only that {GATEWAY} passed it on" in told
    assert WhoSent("contoso", NOT_CERTAIN) in facts.findings


def test_more_hops_than_anybody_has_are_not_followed() -> None:
    found = one(policy(), mail(*received(*["10.0.0.1"] * 29)))
    assert found.standing.source == ""
    of = policy()
    wanted = of.of("contoso").enhanced["Gateway"]
    many = mail(*received(*["10.0.0.1"] * 31, SPAMMER))
    assert many.message is not None
    found = look_for_source(many.connection, many.message, wanted)
    assert (found.outcome, found.because) == (Outcome.DOUBTFUL, "there are more than 30 hops")


def test_received_fields_of_others_are_never_looked_at() -> None:
    lying = mail(*received("192.0.2.77"), peer="198.51.100.9", sender="u@contoso.com")
    unproven = policy_of(
        document()
        .replace("restrict_domains_to_ip_addresses = true", "restrict_domains_to_ip_addresses = false")
        .replace('sender_ip_addresses = ["198.51.100.0/24"]\n', "")
    )
    found = one(unproven, lying, Depth.FULL)
    assert found.standing.source == "" and not found.standing.allowed_by_ip
    assert "nothing shows that 198.51.100.9 is the gateway" in steps(found, "true source")["true source"]


# --- whom it concerns ---------------------------------------------------------------------------------------------


def test_users_are_a_matter_of_each_recipient() -> None:
    of = policy(LAST + f'\nef_users = ["{ANA}"]')
    facts, ruling = judged(of, mail(*received(SPAMMER), to=(ANA, BOB)), Depth.FULL)
    ana, bob = ruling.recipients
    assert (ana.standing.source, bob.standing.source) == (SPAMMER, "")
    assert (ana.standing.computed, bob.standing.computed) == (SPAMMER, SPAMMER), "computed for trials too"
    assert "not among the ef_users of Gateway" in steps(bob, "true source")["true source"]
    assert {q for q, _ in facts.findings.items() if isinstance(q, WhoSent)} == {
        WhoSent("contoso", SPAMMER, "h0.test"), WhoSent("contoso"),
    }  # fmt: skip


def test_in_compatibility_the_whole_message_or_nobody() -> None:
    of = policy(LAST + f'\nef_users = ["{ANA}"]', organisation='compatibility = "exchange"')
    _, both = judged(of, mail(*received(SPAMMER), to=(ANA, BOB)))
    assert [one.standing.source for one in both.recipients] == ["", ""]
    _, alone = judged(of, mail(*received(SPAMMER)))
    assert [one.standing.source for one in alone.recipients] == [SPAMMER]


@pytest.mark.parametrize(
    ("source", "fate", "allowed"),
    [("192.0.2.77", "-> contoso/mx:contoso.com ana@contoso.com", True), ("192.0.2.88", "550 5.7.513", False),
     ("192.0.2.66", "-> contoso/mx:contoso.com ana@contoso.com", False)],
)  # fmt: skip
def test_the_ip_lists_are_asked_about_the_true_source(source: str, fate: str, allowed) -> None:
    _, ruling = judged(policy(allowed=GATEWAY), mail(*received(source)))
    (verdict,) = ruling.recipients
    assert said(verdict.disposition).startswith(fate[:9])
    assert verdict.standing.allowed_by_ip is allowed


def test_what_an_own_gateway_passes_on_is_not_exempt_any_more() -> None:
    own = mail(*received(SPAMMER), peer=OURS, sender="boss@contoso.com")
    assert one(policy(), own).standing.direction is Direction.ORIGINATING
    assert WhoSent("contoso") not in judged(policy(), own)[0].findings
    facts, ruling = judged(policy(own=LAST), own, answer=authenticated("fail", "reject", domain="contoso.com"))
    (verdict,) = ruling.recipients
    assert WhoSent("contoso", SPAMMER, "h0.test") in facts.findings
    assert said(verdict.disposition) == "550 5.7.509"
    assert sender_of(facts, verdict).proof is Proof.FORGED, "nobody is told of what he did not send"


def test_mail_from_within_own_servers_stays_exempt() -> None:
    facts, ruling = judged(policy(own=LAST), mail(*received("10.0.0.7"), peer=OURS, sender="ana@contoso.com"))
    assert not [q for q, _ in facts.findings.items() if isinstance(q, WhoSent)]
    assert ruling.recipients[0].standing.source == ""


# --- rights -------------------------------------------------------------------------------------------------------


RIGHTS = ("right to relay", "internal trust", "header promotion", "spam bypass")
SAYS = "X-MS-Exchange-CrossPremises-AuthAs: Internal"
GUID = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"


def rights(verdict: Verdict) -> tuple[bool, bool, bool]:
    return verdict.standing.internal, verdict.standing.promotes, verdict.standing.bypass


@pytest.mark.parametrize(
    ("own", "fields", "sender", "peer", "expected"),
    [
        ("", [SAYS], "a@contoso.com", OURS, (False, False, False)),
        ("cloud_services_mail_enabled = true", [SAYS], "a@contoso.com", OURS, (True, True, True)),
        ("cloud_services_mail_enabled = true", [], "a@contoso.com", OURS, (False, True, False)),
        ("cloud_services_mail_enabled = true", [SAYS], "a@shop.test", OURS, (False, False, False)),  # not attributed
        ("cloud_services_mail_enabled = true", [SAYS], "a@contoso.com", GATEWAY, (False, False, False)),
        ("cloud_services_mail_enabled = true", [SAYS, SAYS.replace("Internal", "Anonymous")], "a@contoso.com", OURS,
         (False, True, False)),
        ("cloud_services_mail_enabled = true", ["X-MS-Exchange-CrossPremises-SCL: -1"], "a@contoso.com", OURS,
         (False, True, True)),
        ("cloud_services_mail_enabled = true", ["X-MS-Exchange-Organization-AuthAs: Internal"], "a@contoso.com", OURS,
         (False, True, False)),
        ("treat_messages_as_internal = true", [SAYS], "a@contoso.com", OURS, (True, False, True)),
        ("treat_messages_as_internal = true", [SAYS], "a@shop.test", OURS, (False, False, False)),
        ("treat_messages_as_internal = true", [], "", OURS, (False, False, False)),
        ("treat_messages_as_internal = true", [], "a@contoso.com", GATEWAY, (False, False, False)),
    ],
)  # fmt: skip
def test_each_right_by_itself(own, fields, sender, peer, expected) -> None:
    for depth in Depth:
        found = one(policy("", own, about="p.test"), mail(*fields, peer=peer, sender=sender), depth)
        assert rights(found) == expected, depth
    told = steps(found, *RIGHTS, "rights")
    assert set(told) == (set(RIGHTS) if peer == OURS else {"rights"})


def test_a_login_is_internal_and_promotes_nothing() -> None:
    found = one(policy(), mail(SAYS, peer="192.0.2.1", sender=ANA, login=ANA), Depth.FULL)
    assert rights(found) == (True, False, True)
    assert steps(found, "internal trust") == {"internal trust": "yes: the session is logged in"}


def test_the_partner_switch_promotes_nothing() -> None:
    found = one(policy("cloud_services_mail_enabled = true"), mail(SAYS), Depth.FULL)
    assert rights(found) == (False, False, False)


def test_internal_is_exempt_from_authentication() -> None:
    of = policy("", "cloud_services_mail_enabled = true\n" + LAST)
    facts, _ = judged(of, mail(SAYS, *received(SPAMMER), peer=OURS, sender="a@contoso.com"))
    assert not [q for q, _ in facts.findings.items() if isinstance(q, WhoSent)]


def test_the_id_of_the_other_side_is_kept_if_it_is_one() -> None:
    of = policy("", "cloud_services_mail_enabled = true")
    for value, expected in ((GUID, GUID), (f"<{GUID.upper()}>", GUID), ("../../etc", ""), ("x" * 36, "")):
        field = f"X-MS-Exchange-CrossPremises-Network-Message-Id: {value}"
        assert one(of, mail(field, peer=OURS, sender="a@contoso.com")).standing.network_id == expected
        assert one(of, mail(field, sender="a@contoso.com")).standing.network_id == ""


def test_a_certificate_alone_carries_promotion_for_any_sender() -> None:
    tls = tls_of(certificate_of("contoso.com"), trusted_by=("public",))
    of = policy_of(
        document("")
        + '[[inbound_connector]]\nname = "Hybrid"\nconnector_type = "on_premises"\n'
        'tls_sender_certificate_name = "contoso.com"\ncloud_services_mail_enabled = true\n'
    )
    found = one(of, mail(SAYS, peer="192.0.2.1", tls=tls))
    assert rights(found) == (True, True, True)


# --- what is on record --------------------------------------------------------------------------------------------


def test_questions_of_before_are_still_read() -> None:
    recorder = Recorder()
    facts, ruling = judged(policy(""), mail(*received(SPAMMER)))
    written = recorder.write_story(facts, ruling)
    story = recorder.read_story(written)
    assert story.facts == facts and story.ruling == ruling
    assert Standing("contoso").who_sent == WhoSent("contoso")
    plain = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(written))
    plain["judge"] = 2
    del plain["message"]["internal"]
    question = next(q for q, _ in plain["findings"] if q["type"] == "who_sent")
    assert question == {"type": "who_sent", "organisation": "contoso"}, "as it was written before"
    old = recorder.read_story(zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(plain)))
    assert (old.judge_version, old.facts, old.ruling) == (2, facts, ruling)
    course = retold(policy(""), old, "contoso")
    assert differences(old.ruling, course) == []
