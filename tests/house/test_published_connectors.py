"""The published connector cases over real sockets: every session with TLS and a certificate made for this run.

What a case calls `ca_valid` is signed by the CA of the run, `self_signed` by itself; the same word is the same key, in
certificates and pins. Each case is played twice, on two connections.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edge.authority import CLIENT, DAY, SERVER, Identity, make
from fixtures_folder import fixtures_folder
from house.connectors_world import EVA, base_policy
from lockgate.wire.certificates import certificate_facts
from peers.partner import Partner
from peers.service import HOSTNAME, Service, running
from peers.smtp_peer import SmtpPeer

SUITE = fixtures_folder("connectors") / "connector-cases-dev.json"
CASES: list[dict[str, Any]] = json.loads(SUITE.read_text())["cases"]
TYPES = {"Partner": "partner", "OnPremises": "on_premises"}
PURPOSES = {"serverAuth": SERVER, "clientAuth": CLIENT}


class Shop:
    """Makes the certificates that the cases name; the same key for the same word."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root, self.stranger = make("Root of the cases", ca=True), make("Nobody", ca=True)
        (folder / "root.pem").write_bytes(self.root.chain_pem)
        self.us = make(HOSTNAME, [HOSTNAME], issuer=self.root).write(folder, "us")
        self._made: dict[str, Identity] = {}
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}

    def identity(self, shown: dict[str, Any]) -> Identity:
        key = json.dumps(shown, sort_keys=True)
        if key not in self._made:
            self._made[key] = self._make(shown)
        return self._made[key]

    def _make(self, shown: dict[str, Any]) -> Identity:
        word: dict[str, Any] = {"purposes": [PURPOSES[name] for name in shown["eku"]], "key": self.key(shown["spki"])}
        name, names, chain = shown["cn"] or "nobody", shown["san"], shown["chain"]
        match chain:
            case "ca_valid":
                return make(name, names, issuer=self.root, **word)
            case "self_signed":
                return make(name, names, **word)
            case "expired":
                return make(name, names, issuer=self.root, **word, start=-3 * DAY, end=-DAY)
            case "not_yet_valid":
                return make(name, names, issuer=self.root, **word, start=DAY, end=3 * DAY)
            case "unknown_ca":
                return make(name, names, issuer=self.stranger, **word)
            case "intermediate_missing" | "incomplete":
                below = make(name, names, issuer=make("Between", issuer=self.root, ca=True), **word)
                return Identity(below.certificate, below.key)
        pytest.fail(f"a case says the chain is {chain}; this test does not know how to make such a one")

    def papers(self, shown: dict[str, Any]) -> tuple[str, str]:
        one = self.identity(shown)
        return one.write(self.folder, f"{one.certificate.serial_number:x}")

    def key(self, word: str) -> ec.EllipticCurvePrivateKey:
        return self._keys.setdefault(word, ec.generate_private_key(ec.SECP256R1()))

    def pin(self, word: str) -> str:
        return certificate_facts(make(word, key=self.key(word)).der_chain[0]).spki_sha256


def policy_of(case: dict[str, Any], host: str, shop: Shop) -> str:
    lines: list[str] = []
    for tenant, domains in case["accepted_domains"].items():
        lines += ["[[organisation]]", f'name = "{tenant}"', "reject_direct_send = true"]
        for domain in domains:
            lines += ["[[accepted_domain]]", f'organisation = "{tenant}"', f'domain_name = "{domain}"']
            lines += ["vouched_by_operator = true", "[[outbound_connector]]", f'organisation = "{tenant}"']
            lines += [f'name = "To {domain}"', f'recipient_domains = ["{domain}"]', "use_mx_record = false"]
            lines += [f'smart_hosts = ["{host}"]']
    for connector in case["connectors"]:
        values: dict[str, Any] = {
            "organisation": connector["tenant"],
            "name": connector["name"],
            "connector_type": TYPES[connector["type"]],
            "sender_domains": connector.get("sender_domains", ["*"]),
            "require_tls": connector.get("require_tls", False),
            "restrict_domains_to_certificate": connector.get("restrict_cert", False),
            "restrict_domains_to_ip_addresses": connector.get("restrict_ips", False),
            "sender_ip_addresses": connector.get("ips", []),
        }
        if "cert_name" in connector:
            values["tls_sender_certificate_name"] = connector["cert_name"]
        if "pin_spki" in connector:
            values["pinned_keys"] = [shop.pin(connector["pin_spki"])]
        lines += ["[[inbound_connector]]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines)


def tenants() -> Iterator[tuple[str, list[str]]]:
    """Every organisation of the cases with all its domains."""
    names = {tenant for case in CASES for tenant in case["accepted_domains"]}
    for tenant in sorted(names):
        domains = (domain for case in CASES for domain in case["accepted_domains"].get(tenant, ()))
        yield tenant, list(dict.fromkeys(domains))


def users(*domains: str, name: str = "u") -> str:
    """One recipient in each domain, as CSV; nobody else is there."""
    return "address,kind\n" + "".join(f"{name}@{domain},mail_user\n" for domain in domains)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def sink() -> Iterator[SmtpPeer]:
    with SmtpPeer() as peer:
        yield peer


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, shop: Shop, sink: SmtpPeer) -> Iterator[Service]:
    chain, key = shop.us
    people = {"fabrikam": users("fabrikam.com", name="eva")} | {name: users(*domains) for name, domains in tenants()}
    with running(
        tmp_path_factory.mktemp("cases") / "service", base_policy(sink.host) + policy_of(CASES[0], sink.host, shop),
        recipients=people, certificate=[{"chain": chain, "key": key}],
        delivery={"ca_bundle": str(shop.folder / "root.pem")},
    ) as service:  # fmt: skip
        assert service.send("probe@probe.test", EVA)
        yield service


def _judges_by(service: Service, sender: str) -> int:
    """The revision by which the edge judges now."""
    return int(service.trace(id=service.send(sender, EVA))[0]["revision"])


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_published_case_by_a_real_peer(case: dict[str, Any], service: Service, shop: Shop, sink: SmtpPeer) -> None:
    revision = int(service.reload(base_policy(sink.host) + policy_of(case, sink.host, shop))["revision"])
    service.until(lambda: _judges_by(service, f"{case['id']}@probe.test") >= revision, "the case's policy is in force")
    session, envelope, expect = case["session"], case["envelope"], case["expect"]
    papers = shop.papers(session["client_cert"]) if session["client_cert"] is not None else None
    peer = Partner(service, session["ip"], papers, tls=session["tls"] is not None, version=session["tls"] or "")
    answers = peer.asks(envelope["mail_from"], *envelope["rcpt_to"])
    if expect["result"] == "reject":
        for code, text in answers:
            assert code // 100 == expect["reply_class"], (case["why"], code, text)
        return
    assert [code for code, _ in answers] == [250] * len(answers), (case["why"], answers)
    head = f"From: {envelope['header_from']}\r\nSubject: case {case['id']}\r\n\r\nx\r\n".encode()
    for code, text in peer.sends(envelope["mail_from"], *envelope["rcpt_to"], content=head):
        assert code == 250, (case["why"], text)
        message = text.rpartition(" ")[2]
        rows = service.until(lambda message=message: service.trace(id=message), f"{message} is traced")
        assert {row["inbound_connector"] or None for row in rows} == {expect["connector"]}, case["why"]
        if "tenant" in expect:
            assert {row["organisation"] for row in rows} == {expect["tenant"]}, case["why"]
