"""T-IPR-2, T-EOP-3, T-EOP-5 by certificate, rights anew for each transaction, and organisations that trust each other.

Peers are smtplib over TLS, openssl s_client and Postfix with a client certificate.
"""

from __future__ import annotations

import re
import smtplib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from house.connectors_world import ANN, EVA, GATEWAY, INI, LEA, OTHER, Papers, World, inbound, world_of
from peers.listening import arrived, recipients, sender
from peers.names import Names
from peers.postfix import Postfix
from peers.smtp_peer import Script, SmtpPeer

OWN, BEN, FAR = "203.0.113.25", "ben@contoso.com", "x@far.test"
ON_PREMISES = {"connector_type": "on_premises"}


def connectors(papers: Papers) -> str:
    lock = {"sender_domains": ["*"], "require_tls": False, "restrict_domains_to_ip_addresses": True}
    return "".join(
        [
            inbound("By address", sender_ip_addresses=[OWN, "127.0.0.88"], **ON_PREMISES),
            inbound("By certificate", tls_sender_certificate_name="*.contoso.com", **ON_PREMISES),
            inbound("Fabrikam's", "fabrikam", tls_sender_certificate_name="fabrikam.com", **ON_PREMISES),
            inbound(
                "Gateway", "locked", sender_ip_addresses=[GATEWAY], associated_accepted_domains=["locked.test"], **lock
            ),
            inbound("Locked's", "locked", tls_sender_certificate_name="locked.test", **ON_PREMISES),
        ]
    )


@dataclass
class Outside(World):
    """The same world, with the mail exchanger of a domain outside."""

    far: SmtpPeer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with (
        SmtpPeer(Script(), "127.0.0.61") as far,
        Names({"far.test": ["mx.far.test"]}, {"mx.far.test": ["127.0.0.61"]}) as names,
        world_of(
            tmp_path_factory.mktemp("own"), connectors, delivery={"mx_port": far.port}, dns=names.settings
        ) as world,
    ):
        yield Outside(**vars(world), far=far)


def connector_of(world: World, text: str) -> str:
    row, = world.service.settled(text.rpartition(" ")[2])
    return row["inbound_connector"]


def test_a_certificate_comes_before_an_address(world: Outside) -> None:
    for address in (OWN, OTHER):
        for code, text in world.peer(address, "own server").sends(BEN, FAR):
            assert code == 250, text
            assert connector_of(world, text) == "By certificate"
    for code, text in world.peer(OWN).sends(BEN, FAR):
        assert code == 250, text
        assert connector_of(world, text) == "By address"


def test_t_eop_3_by_certificate_any_sender_is_relayed_by_address_only_own_ones(world: Outside) -> None:
    for code, text in world.peer(OTHER, "own server").sends("forwarded@elsewhere.test", FAR):
        assert code == 250, text
    for who, address, tls in (("x@elsewhere.test", OWN, True), ("x@elsewhere.test", OWN, False)):
        (code, text), = world.peer(address, tls=tls).asks(who, FAR)
        assert (code, text[:50]) == (550, "5.7.64 TenantAttribution; Relay Access Denied (far"), text
        assert "By address relays only for sender domains of its organisation" in text


def test_t_eop_3_strangers_with_any_certificate_do_not_relay(world: Outside) -> None:
    for kind in ("", "right", "wrong name", "expired", "self-signed"):
        (code, text), = world.peer(OTHER, kind).asks(BEN, FAR)
        assert (code, text[:7]) == (550, "5.7.64 "), text
        assert "no connector vouches that the session is contoso.com's" in text
        told = world.why(text)
        assert "connector By certificate: " in told and "connector By address: " in told


def test_t_eop_5_the_null_sender_by_certificate(world: Outside) -> None:
    for code, text in world.peer(OTHER, "own server").sends("", FAR):
        assert code == 250, text
        assert connector_of(world, text) == "By certificate"


def test_rights_are_judged_anew_for_every_transaction(world: Outside) -> None:
    """One kept connection: what one transaction may do gives the next one nothing."""
    with world.peer(OWN).connection() as client:
        for who, whom, code, enhanced in (
            (BEN, FAR, 250, ""), ("x@elsewhere.test", FAR, 550, "5.7.64"), (BEN, FAR, 250, ""),
            ("eva@fabrikam.com", FAR, 550, "5.7.64"), ("x@elsewhere.test", ANN, 250, ""), ("", FAR, 250, ""),
            ("x@elsewhere.test", FAR, 550, "5.7.64"),
        ):  # fmt: skip
            assert client.begin(who)[0] == 250
            number, text = client.to(whom)
            assert number == code, (who, whom, text)
            assert not enhanced or text.startswith(enhanced), text
            client.rset()


def test_one_transaction_with_several_organisations_gives_each_only_its_own(world: Outside) -> None:
    """Contoso's server writes to fabrikam: for fabrikam it is a stranger, and its sender may not be fabrikam's."""
    before = len(world.sink.mails)
    with world.peer(OTHER, "own server").connection() as client:
        assert client.begin(BEN)[0] == 250
        assert [client.to(whom)[0] for whom in (ANN, EVA, FAR)] == [250, 250, 250]
        code, text = client.content(b"Subject: three\r\n\r\nx\r\n")
    assert code == 250, text
    arrived(world.sink, before + 2)
    rows = {row["recipient_address"]: row for row in world.service.settled(text.rpartition(" ")[2])}
    assert rows[ANN]["inbound_connector"] == "By certificate" and rows[EVA]["inbound_connector"] == ""
    assert rows[EVA]["organisation"] == "fabrikam" and rows[FAR]["organisation"] == "contoso"
    (code, text), = world.peer(OTHER, "own server").asks("eva@fabrikam.com", ANN)
    assert (code, text[:7]) == (550, "5.7.64 "), text
    assert "fabrikam.com belongs to another organisation than the server that sends" in text


def test_t_ipr_2_lock_down_to_a_gateway(world: Outside) -> None:
    for who in ("x@far.test", "", ANN):
        (code, text), (other, said) = world.peer(OTHER).asks(who, LEA, INI)
        assert (code, text[:7]) == (550, "5.7.51 "), text
        assert (other, said) == (250, said), "the initial domain is not locked"
    for code, text in world.peer(GATEWAY).sends("x@far.test", LEA):
        assert code == 250, text
    for code, text in world.peer(OTHER, "locked's server").sends("x@far.test", LEA):
        assert code == 250, "the own certificate connector is not locked out"
        assert connector_of(world, text) == "Locked's"


def test_t_ipr_2_without_a_scope_the_initial_domain_is_locked_too(world: Outside) -> None:
    try:
        world.reload(world.policy.replace('associated_accepted_domains = ["locked.test"]', ""))
        for code, text in world.peer(OTHER).asks("x@far.test", LEA, INI):
            assert (code, text[:7]) == (550, "5.7.51 "), text
    finally:
        world.reload(world.policy)


def test_a_trusted_organisation_comes_through_the_lock_down(world: Outside) -> None:
    """Within one installation: its own servers and logins, proven as for its own recipients, and nobody else."""
    (code, text), = world.peer(OTHER, "fabrikam's server").asks(EVA, LEA)
    assert code == 550, "without the connector it is a stranger"
    try:
        world.reload(world.policy + inbound("Sister", "locked", trusted_organizations=["fabrikam"]))
        for code, text in world.peer(OTHER, "fabrikam's server").sends(EVA, LEA):
            assert code == 250, text
            assert connector_of(world, text) == "Sister"
        told = world.service.command("explain", text.rpartition(" ")[2])[1]
        assert "partner connector Sister: it trusts fabrikam, whose server or login sends this" in told
        assert "Gateway: it covers the sender, but Sister trusts fabrikam" in told
        for kind, who in (("", EVA), ("right", EVA), ("own server", BEN)):
            (code, text), = world.peer(OTHER, kind).asks(who, LEA)
            assert (code, text[:7]) == (550, "5.7.51 "), (kind, text)
    finally:
        world.reload(world.policy)


def test_openssl_with_a_certificate_of_an_own_server_relays_twice(world: Outside) -> None:
    chain, key = world.papers.files["own server"]
    session = world.papers.folder / "session.pem"
    for _ in range(2):
        words = ["-sess_in", str(session)] if session.exists() else ["-sess_out", str(session)]
        lines = ("EHLO own.test", "MAIL FROM:<any@elsewhere.test>", f"RCPT TO:<{FAR}>", "DATA", "Subject: x", "", "x")
        talk = "".join(f"{line}\n" for line in (*lines, ".", "QUIT")).encode()
        done = subprocess.run(
            ["openssl", "s_client", "-crlf", "-starttls", "smtp", "-connect", f"127.0.0.1:{world.service.port}",
             "-cert", chain, "-key", key, "-CAfile", world.papers.ca("root"), "-tls1_2", "-nocommands", "-ign_eof",
             *words],
            input=talk, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        said = done.stdout.decode("utf-8", "replace")
        assert "Queued as" in said, said + done.stderr.decode()
        assert "Reused" not in said, "a resumed session would have lost the chain"
        assert connector_of(world, re.search(r"Queued as \S+", said)[0]) == "By certificate"


def test_postfix_with_a_certificate_of_an_own_server_relays_twice(world: Outside) -> None:
    chain, key = world.papers.files["own server"]
    far = world.far
    with Postfix(
        f"127.0.0.1:{world.service.port}", smtp_tls_security_level="encrypt", smtp_bind_address="127.0.0.77",
        smtp_tls_cert_file=chain, smtp_tls_key_file=key, smtp_tls_CAfile=world.papers.ca("root"),
        smtp_tls_session_cache_database="btree:${data_directory}/smtp_scache",
    ) as postfix:  # fmt: skip
        for number in (1, 2):
            before = len(far.mails)
            send_by(postfix, "list-owner@elsewhere.test", FAR, f"postfix {number}")
            mail = arrived(far, before + 1)[-1]
            assert (sender(mail), recipients(mail)) == ("list-owner@elsewhere.test", [FAR])
        postfix.logged(r"(?s)Queued as .*Queued as ")
    rows = [row for row in world.service.trace(ip="127.0.0.77") if row["sender_address"] == "list-owner@elsewhere.test"]
    assert [row["inbound_connector"] for row in rows] == ["By certificate"] * 2


def test_postfix_by_its_address_relays_for_own_senders_only(world: Outside) -> None:
    far = world.far
    with Postfix(f"127.0.0.1:{world.service.port}", smtp_bind_address="127.0.0.88") as postfix:
        before = len(far.mails)
        send_by(postfix, BEN, FAR, "by address")
        assert sender(arrived(far, before + 1)[-1]) == BEN
        send_by(postfix, "x@elsewhere.test", FAR, "not own")
        postfix.logged(r"status=bounced.*5\.7\.64 TenantAttribution; Relay Access Denied")


def send_by(postfix: Postfix, who: str, whom: str, subject: str) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.port, timeout=20) as client:
        client.sendmail(who, [whom], f"From: {who}\r\nTo: {whom}\r\nSubject: {subject}\r\n\r\nx\r\n")
