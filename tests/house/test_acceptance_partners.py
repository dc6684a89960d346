"""T-TLS-1, -2, -5, -8, T-IPR-1, and the enforcement table of specification 2.3: each by a real peer, each twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from house.connectors_world import ANN, EVA, LISTED, NAME, OTHER, Papers, World, inbound, world_of
from peers.listening import arrived, recipients

NETWORK = ["203.0.113.0/24"]
TLS, CERT, IP = "require_tls", "restrict_domains_to_certificate", "restrict_domains_to_ip_addresses"
ROWS = {
    "none": {TLS: False},
    "tls": {TLS: True},
    "tls-cert": {TLS: True, CERT: True, "tls_sender_certificate_name": NAME},
    "ip": {TLS: False, IP: True, "sender_ip_addresses": NETWORK},
    "tls-ip": {TLS: True, IP: True, "sender_ip_addresses": NETWORK},
}
"""The rows of the table; each is a connector for a sender domain of its own."""


def connectors(papers: Papers) -> str:
    named = {TLS: True, CERT: True, "tls_sender_certificate_name": NAME}
    return "".join(
        [
            *(inbound(f"Row {row}", sender_domains=[f"{row}.test"], **flags) for row, flags in ROWS.items()),
            inbound("Wild", sender_domains=["wild.test"], **{**named, "tls_sender_certificate_name": "*.bank.test"}),
            inbound("By common name", sender_domains=["cn.test"], allow_common_name=True, **named),
            inbound("Own CA", sender_domains=["ca.test"], ca_file=papers.ca("partner"), **named),
            inbound(
                "Pinned", sender_domains=["pin.test"],
                pinned_keys=[papers.pins["self-signed, old key"], papers.pins["self-signed"]],
                **{TLS: True, CERT: True},
            ),
            inbound("By address", sender_domains=["*"], sender_ip_addresses=["203.0.113.55"], require_tls=True),
        ]
    )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of(tmp_path_factory.mktemp("partners"), connectors) as world:
        yield world


PLAIN, RIGHT, WRONG = "plain", "right", "wrong name"
CELLS = [
    # row, what the peer shows, where it comes from, what RCPT says ("": 250); specification 2.3 rule 4
    ("none", PLAIN, OTHER, ""), ("none", WRONG, OTHER, ""), ("none", RIGHT, OTHER, ""),
    ("none", PLAIN, LISTED, ""), ("none", RIGHT, LISTED, ""),
    ("tls", PLAIN, OTHER, "5.7.1"), ("tls", WRONG, OTHER, ""), ("tls", RIGHT, OTHER, ""),
    ("tls", PLAIN, LISTED, "5.7.1"), ("tls", "", LISTED, ""),
    ("tls-cert", PLAIN, OTHER, "5.7.1"), ("tls-cert", WRONG, OTHER, "5.7.51"), ("tls-cert", RIGHT, OTHER, ""),
    ("tls-cert", PLAIN, LISTED, "5.7.1"), ("tls-cert", WRONG, LISTED, "5.7.51"), ("tls-cert", RIGHT, LISTED, ""),
    ("ip", PLAIN, LISTED, ""), ("ip", PLAIN, OTHER, "5.7.51"), ("ip", WRONG, LISTED, ""),
    ("ip", WRONG, OTHER, "5.7.51"), ("ip", RIGHT, LISTED, ""), ("ip", RIGHT, OTHER, "5.7.51"),
    ("tls-ip", PLAIN, LISTED, "5.7.1"), ("tls-ip", PLAIN, OTHER, "5.7.1"), ("tls-ip", WRONG, LISTED, ""),
    ("tls-ip", WRONG, OTHER, "5.7.51"), ("tls-ip", RIGHT, LISTED, ""), ("tls-ip", RIGHT, OTHER, "5.7.51"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "shown", "address", "code"), CELLS)
def test_the_enforcement_table(world: World, row: str, shown: str, address: str, code: str) -> None:
    peer = world.peer(address, "" if shown == PLAIN else shown, tls=shown != PLAIN)
    (number, text), = peer.asks(f"clerk@{row}.test", ANN)
    if not code:
        assert number == 250, text
        return
    assert (number, text.split()[0]) == (550, code), text
    assert "(id " in text, "a person must be able to look it up"
    told = world.why(text)
    assert f"partner connector Row {row}" in told and "-> refused" in told, told


def test_t_tls_1_plain_text_is_refused_at_rcpt_and_only_for_who_asks_for_tls(world: World) -> None:
    before = len(world.sink.mails)
    for _ in range(2):
        with world.service.client(OTHER) as client:
            assert client.begin("clerk@tls.test")[0] == 250
            code, text = client.to(ANN)
            assert (code, text[:6]) == (550, "5.7.1 "), text
            assert "The connector Row tls requires TLS for mail of this sender; use STARTTLS" in text
            assert client.to(EVA)[0] == 250, "fabrikam has no such partner"
            code, text = client.content(b"Subject: to one of two\r\n\r\nx\r\n")
            assert code == 250, text
    arrived(world.sink, before + 2)
    assert [recipients(mail) for mail in world.sink.mails[before:]] == [[EVA], [EVA]]


@pytest.mark.parametrize("kind", ["", "self-signed", "expired", "unknown CA", "wrong name"])
def test_t_tls_1_any_encryption_will_do(world: World, kind: str) -> None:
    before = len(world.sink.mails)
    for code, text in world.peer(OTHER, kind).sends("clerk@tls.test", ANN):
        assert code == 250, text
        row, = world.service.settled(text.rpartition(" ")[2])
        assert row["recipient_address"] == ANN
    arrived(world.sink, before + 2)


GOOD = ["right", "wildcard", "several names", "server purpose only", "client purpose only", "with intermediate"]
BAD = {
    "": "no certificate was presented",
    "wrong name": f"the certificate is for mail.other.test, not for {NAME}",
    "common name only": "the certificate is for no host name",
    "expired": "the certificate expired on",
    "not yet valid": "the certificate is not valid before",
    "unknown CA": "the chain leads to no CA certificate that is trusted here",
    "intermediate missing": "the peer sent no intermediate certificate with it, so one may be missing",
    "self-signed": "the certificate is self-signed",
    "mail purpose": "the certificate is for another purpose than TLS",
    "partner's CA": "the chain leads to no CA certificate that is trusted here",
}


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("kind", GOOD)
def test_t_tls_2_the_named_certificate_is_accepted(world: World, kind: str, version: str) -> None:
    (code, text), = world.peer(OTHER, kind, version=version).asks("clerk@tls-cert.test", ANN)
    assert code == 250, text


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("kind", BAD)
def test_t_tls_2_any_other_certificate_is_refused_with_the_reason(world: World, kind: str, version: str) -> None:
    (code, text), = world.peer(OTHER, kind, version=version).asks("clerk@tls-cert.test", ANN)
    assert (code, text[:7]) == (550, "5.7.51 "), text
    assert text.startswith("5.7.51 TenantInboundAttribution; There is a partner connector configured that matched")
    assert BAD[kind] in text, text
    told = world.why(text)
    assert "demand of Row tls-cert: a certificate for mail.bank.test" in told and BAD[kind] in told
    if kind not in ("", "common name only"):
        assert " its names" in told and " valid" in told and " issued by" in told, told


@pytest.mark.parametrize(
    ("sender", "kind", "code"),
    [
        ("wild.test", "right", 250), ("wild.test", "wildcard", 250), ("wild.test", "wrong name", 550),
        ("cn.test", "common name only", 250), ("cn.test", "right", 250), ("cn.test", "wrong name", 550),
        ("ca.test", "partner's CA", 250), ("ca.test", "right", 550), ("ca.test", "self-signed", 550),
    ],
)  # fmt: skip
def test_wildcards_common_names_and_an_own_ca(world: World, sender: str, kind: str, code: int) -> None:
    (number, text), = world.peer(OTHER, kind).asks(f"clerk@{sender}", ANN)
    assert number == code, text
    if (sender, kind) == ("ca.test", "right"):
        assert f"no CA certificate in {world.papers.ca('partner')} vouches for the certificate (public CAs do)" in text


def test_t_tls_5_pins_and_roll_over(world: World) -> None:
    """Both keys are good while both are pinned; then the old one goes, and nothing else has to change."""
    old, new = "self-signed, old key", "self-signed"
    for kind in (old, new):
        (code, text), = world.peer(OTHER, kind).asks("clerk@pin.test", ANN)
        assert code == 250, text
    (code, text), = world.peer(OTHER, "right").asks("clerk@pin.test", ANN)
    assert code == 550 and "the key of the certificate is none of the pinned keys" in text, text
    with world.service.client(OTHER) as client:
        client.secure(*world.papers.files[old])
        assert client.begin("clerk@pin.test")[0] == 250
        try:
            world.reload(world.policy.replace(f'"{world.papers.pins[old]}", ', ""))
            assert client.to(ANN)[0] == 250, "a transaction ends under the policy it began with"
            client.rset()
            assert client.begin("clerk@pin.test")[0] == 250
            code, text = client.to(ANN)
            assert (code, text[:7]) == (550, "5.7.51 "), "the next one does not"
            (code, text), = world.peer(OTHER, old).asks("clerk@pin.test", ANN)
            assert code == 550, text
            (code, text), = world.peer(OTHER, new).asks("clerk@pin.test", ANN)
            assert code == 250, text
        finally:
            world.reload(world.policy)


def test_t_tls_8_an_address_identifies_and_tls_binds_it(world: World) -> None:
    identified = "203.0.113.55"
    for sender in ("anybody@far.test", ""):
        (code, text), = world.peer(identified, tls=False).asks(sender, ANN)
        assert (code, text[:6]) == (550, "5.7.1 "), text
        (code, text), = world.peer(identified).asks(sender, ANN)
        assert code == 250, text
        (code, text), = world.peer(OTHER, tls=False).asks(sender, ANN)
        assert code == 250, "others are not bound"


def test_t_ipr_1_a_restriction_by_address_is_no_trust(world: World) -> None:
    (code, text), = world.peer(OTHER, tls=False).asks("clerk@ip.test", ANN)
    assert (code, text[:7]) == (550, "5.7.51 "), text
    assert f"the address {OTHER} is none of the connector's" in text
    (code, text), (relay, said) = world.peer(LISTED, tls=False).asks("clerk@ip.test", ANN, "x@elsewhere.test")
    assert code == 250, text
    assert (relay, said.split()[0]) == (550, "5.4.1"), "a partner may not relay"
    (code, text), = world.peer(LISTED, tls=False).asks("clerk@ip.test", "nobody@contoso.com")
    assert (code, text[:6]) == (550, "5.4.1 "), "and its mail is blocked at the edge like any other"


def test_what_if_supposes_the_certificate_that_a_peer_would_show(world: World) -> None:
    """What the terminal foretells is what the real peers above were told."""
    ask = ("what-if", "--ip", OTHER, "--to", ANN, "--from")
    pin, partner_ca = world.papers.pins["self-signed"], world.papers.ca("partner")
    for words, code, said in (
        (("clerk@tls-cert.test", "--cert", NAME), 0, "demand of Row tls-cert: a certificate for mail.bank.test"),
        (("clerk@tls-cert.test", "--cert", f"mx.other.test,{NAME}", "--tls", "1.2"), 0, "the session has TLSv1.2"),
        (("clerk@tls-cert.test", "--cert", NAME, "--cert-trouble", "expired"), 1, "the certificate expired on"),
        (("clerk@tls-cert.test", "--cert", NAME, "--cert-trouble", "no-intermediate"), 1, "no intermediate"),
        (("clerk@tls-cert.test", "--cert", world.papers.files["right"][0]), 0, "verifies under public"),
        (("clerk@tls-cert.test", "--cert", world.papers.files["expired"][0]), 1, "the certificate expired on"),
        (("clerk@pin.test", "--cert", "any.test", "--untrusted", "--cert-key", pin), 0, "one of the pinned keys"),
        (("clerk@pin.test", "--cert", "any.test", "--cert-key", "ab" * 32), 1, "none of the pinned keys"),
        (("clerk@ca.test", "--cert", NAME, "--cert-ca", partner_ca), 0, "demand of Own CA"),
        (("clerk@ca.test", "--cert", NAME, "--cert-ca", "public"), 1, "(public CAs do)"),
        (("clerk@tls.test",), 1, "TLS is required and the session is in plain text"),
    ):
        number, out, err = world.service.command(*ask, *words)
        assert number == code and said in out, (words, number, out, err)
    number, _, err = world.service.command(*ask, "clerk@tls.test", "--cert", NAME, "--cert-trouble", "broken")
    assert number == 2 and "is none of self-signed, expired" in err, err
