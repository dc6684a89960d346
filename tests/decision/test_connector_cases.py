"""The published connector cases, as far as these stages reach (acceptance, connector, organisation, relay)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from decision.judging import ruled, said, why
from fixtures_folder import fixtures_folder
from lockgate.mail.connection import Tls
from lockgate.mail.facts import Point
from lockgate.mail.ruling import Refuse
from lockgate.testing.builders import (
    certificate_of,
    connection_of,
    facts_of,
    people,
    policy_of,
    spki_of,
    tls_of,
    who_of,
)

SUITE = fixtures_folder("connectors") / "connector-cases-dev.json"
CASES: list[dict[str, Any]] = json.loads(SUITE.read_text())["cases"]
TYPES = {"Partner": "partner", "OnPremises": "on_premises"}


def toml_of(case: dict[str, Any]) -> str:
    lines: list[str] = []
    for tenant, domains in case["accepted_domains"].items():
        lines += ["[[organisation]]", f'name = "{tenant}"']
        for domain in domains:
            lines += ["[[accepted_domain]]", f'organisation = "{tenant}"', f'domain_name = "{domain}"']
            lines += ["vouched_by_operator = true"]
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
            values["pinned_keys"] = [spki_of(connector["pin_spki"])]
        lines += ["[[inbound_connector]]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines)


def tls_in(session: dict[str, Any]) -> Tls | None:
    if session["tls"] is None:
        return None
    shown = session["client_cert"]
    if shown is None:
        return tls_of()
    certificate = certificate_of(
        *shown["san"], spki=shown["spki"], common_name=shown["cn"] or "", purposes=shown["eku"]
    )
    good = shown["chain"] == "ca_valid"
    return tls_of(certificate, trusted_by=("public",) if good else (), trouble="" if good else shown["chain"])


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_connector_case(case: dict[str, Any]) -> None:
    # An exact certificate name attributes only if that very name is accepted (specification 2.3 rule 8); with an own
    # sender domain, as in these cases, the domain above it is enough.
    policy = policy_of(toml_of(case))
    session, envelope, expect = case["session"], case["envelope"], case["expect"]
    directory = people(who_of("T1", "u@contoso.test"), who_of("T2", "u@fabrikam.test"))
    facts = facts_of(
        envelope["mail_from"], *envelope["rcpt_to"], connection=connection_of(session["ip"], tls=tls_in(session))
    )
    ruling = ruled(policy, facts, directory, until=Point.RCPT)
    (verdict,) = ruling.recipients
    if expect["result"] == "reject":
        assert isinstance(verdict.disposition, Refuse), case["why"]
        assert verdict.disposition.reply.code // 100 == expect["reply_class"]
        return
    assert verdict.disposition is None, (case["why"], said(verdict.disposition), why(verdict))
    standing = verdict.standing
    assert (standing.inbound_connector or standing.partner_connector or None) == expect["connector"], case["why"]
    if "relay" in expect:
        assert standing.relay is expect["relay"]
    if "tenant" in expect:
        assert standing.organisation == expect["tenant"]
