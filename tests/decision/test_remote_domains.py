"""Remote domains (specification 1.5): what is kept in, for whom, and that the most specific one holds alone."""

from __future__ import annotations

import msgspec
import pytest

from decision.judging import fates, settled, why
from lockgate.decision.remote import trusts
from lockgate.decision.stage import Depth
from lockgate.testing.builders import connection_of, facts_of, message_of, people, policy_of, who_of

OWN = "192.0.2.25"
POLICY = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[accepted_domain]]
domain_name = "sister.test"
vouched_by_operator = true
[[inbound_connector]]
name = "Own"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
"""
OOF = (("Auto-Submitted", "auto-replied"),)
EXCHANGE = (("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All"))
REPORT = (("Content-Type", "multipart/report; report-type=delivery-status"),)
FORWARD = (("X-MS-Exchange-Organization-AutoForwarded", "true"),)
ASK = people(who_of("contoso", "ann@contoso.com"), who_of("contoso", "bob@sister.test"))


def remote(domain: str, **settings: object) -> str:
    written = {key: str(value).lower() if isinstance(value, bool) else repr(value) for key, value in settings.items()}
    lines = [f"{key} = {value}" for key, value in written.items()]
    return "\n".join(["[[remote_domain]]", f'domain_name = "{domain}"', *lines, ""])


def sent(policy: str, fields=OOF, sender: str = "ann@contoso.com", to: str = "x@far.test", **peer: object):
    message = msgspec.structs.replace(message_of(), fields=fields)
    facts = facts_of(sender, to, connection=connection_of(str(peer.pop("peer", OWN)), **peer), message=message)  # type: ignore[arg-type]
    return settled(policy_of(POLICY + policy), facts, ASK, depth=Depth.FULL)[1]


NO_REPLY = "dropped: no automatic reply may leave to far.test (remote domain {}: auto_reply_enabled = false)"
LEAVES = "-> contoso/mx:far.test x@far.test"


def test_T_RD_1_a_reply_to_a_domain_that_gets_none_is_dropped_and_others_leave() -> None:
    policy = remote("far.test", auto_reply_enabled=False)
    ruling = sent(policy)
    assert fates(ruling) == [NO_REPLY.format("far.test")]
    assert "by Auto-Submitted: auto-replied it is one" in why(ruling.recipients[0])
    assert fates(sent(policy, EXCHANGE, "")) == [NO_REPLY.format("far.test")]
    assert fates(sent(policy, ())) == [LEAVES]
    assert fates(sent(policy, to="x@other.test")) == ["-> contoso/mx:other.test x@other.test"]


@pytest.mark.parametrize(
    ("domains", "fate"),
    [
        ({"*": False}, NO_REPLY.format("*")),
        ({"*": False, "far.test": True}, LEAVES),
        ({"*": True, "far.test": False}, NO_REPLY.format("far.test")),
        ({"*": False, "*.test": True}, LEAVES),
        ({"*.test": True, "*.far.test": False}, NO_REPLY.format("*.far.test")),
        ({"*.far.test": False, "far.test": True}, LEAVES),
        ({"below.far.test": False}, LEAVES),
        ({"notfar.test": False}, LEAVES),
    ],
)
def test_T_RD_1_the_specific_one_beats_the_default(domains: dict[str, bool], fate: str) -> None:
    policy = "".join(remote(domain, auto_reply_enabled=enabled) for domain, enabled in domains.items())
    assert fates(sent(policy)) == [fate]


@pytest.mark.parametrize(
    ("settings", "fields", "word"),
    [
        ({"auto_reply_enabled": False}, OOF, "auto_reply_enabled = false"),
        ({"allowed_oof_type": "none"}, OOF, 'allowed_oof_type = "none"'),
        ({"auto_forward_enabled": False}, FORWARD, "auto_forward_enabled = false"),
        ({"ndr_enabled": False, "delivery_report_enabled": False}, REPORT, "ndr_enabled = false"),
        # which of the two it is the header does not say
        ({"ndr_enabled": False}, REPORT, ""),
        ({"delivery_report_enabled": False}, REPORT, ""),
        ({"auto_reply_enabled": False}, REPORT, ""),
        ({"auto_reply_enabled": False}, FORWARD, ""),
        ({"auto_forward_enabled": False}, OOF, ""),
        ({"ndr_enabled": False, "delivery_report_enabled": False}, OOF, ""),
        ({"allowed_oof_type": "external_legacy"}, OOF, ""),
        ({}, OOF, ""),
    ],
)
def test_each_switch_stops_its_own_kind(settings: dict[str, object], fields, word: str) -> None:
    (fate,) = fates(sent(remote("far.test", **settings), fields, ""))
    assert (word in fate and fate.startswith("dropped: ")) if word else fate == LEAVES
    if not word and settings and fields:
        assert "remote domain far.test" in str(sent(remote("far.test", **settings), fields, "").recipients[0].steps)


def test_mail_of_strangers_is_none_of_our_answers() -> None:
    policy = remote("*", auto_reply_enabled=False)
    assert fates(sent(policy, sender="x@far.test", to="ann@contoso.com", peer="198.51.100.7")) == [
        "-> contoso/mx:contoso.com ann@contoso.com"
    ]


def test_what_is_for_an_own_domain_never_leaves() -> None:
    assert fates(sent(remote("*", auto_reply_enabled=False), to="bob@sister.test")) == [
        "-> contoso/mx:sister.test bob@sister.test"
    ]


def test_a_login_is_asked_as_an_own_server_is() -> None:
    policy = remote("far.test", auto_reply_enabled=False)
    assert fates(sent(policy, peer="198.51.100.7", login="ann@contoso.com")) == [NO_REPLY.format("far.test")]


def test_the_right_of_trusted_domains_is_recorded() -> None:
    policy = policy_of(POLICY + remote("bank.test", trusted_mail_inbound_enabled=True) + remote("*"))
    mine = policy.of("contoso")
    found = trusts(mine, facts_of("clerk@bank.test", "ann@contoso.com"))
    assert found is not None and found.domain_name == "bank.test"
    assert trusts(mine, facts_of("clerk@far.test", "ann@contoso.com")) is None
    assert trusts(mine, facts_of("", "ann@contoso.com")) is None
