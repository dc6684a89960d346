"""The connectors of the published cases can all be saved."""

import json

import pytest

from fixtures_folder import fixtures_folder
from lockgate.policy.compile import compile_policy

CASES = json.loads((fixtures_folder("connectors") / "connector-cases-dev.json").read_text())["cases"]
KEYS = {
    "sender_domains": "sender_domains",
    "require_tls": "require_tls",
    "restrict_cert": "restrict_domains_to_certificate",
    "cert_name": "tls_sender_certificate_name",
    "restrict_ips": "restrict_domains_to_ip_addresses",
    "ips": "sender_ip_addresses",
}
TYPES = {"Partner": "partner", "OnPremises": "on_premises"}


def document(case):
    lines = []
    for organisation, domains in case["accepted_domains"].items():
        lines += ["[[organisation]]", f'name = "{organisation}"']
        for domain in domains:
            lines += ["[[accepted_domain]]", f'domain_name = "{domain}"', f'organisation = "{organisation}"']
            lines += ["vouched_by_operator = true"]
    for connector in case["connectors"]:
        lines += ["[[inbound_connector]]", f'name = "{connector["name"]}"', f'organisation = "{connector["tenant"]}"']
        lines += [f'connector_type = "{TYPES[connector["type"]]}"']
        lines += [f"{KEYS[key]} = {json.dumps(value)}" for key, value in connector.items() if key in KEYS]
        if "pin_spki" in connector:
            lines += [f'pinned_keys = ["{"ab" * 32}"]']
    return "\n".join(lines)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_published_case_can_be_saved(case):
    found = compile_policy({"case.toml": document(case)}, hostname="mx.lockgate.test", revision=1)
    for connector in case["connectors"]:
        assert connector["name"] in found.of(connector["tenant"]).inbound
