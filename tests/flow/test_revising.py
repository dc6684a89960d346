"""Who may change what, what the audit says of it, and what a change means for mail."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from lockgate.flow.asking import Apply, Assignment, Kind, ObjectWrite, Plan, Reload, Request, Rollback
from lockgate.flow.desk.front import Desk
from lockgate.flow.desk.objects import ObjectDesk
from lockgate.flow.desk.policies import PolicyDesk
from lockgate.flow.desk.rights import EVERYTHING, ROLE_GROUPS, Caller
from lockgate.flow.meaning import Both, meaning
from lockgate.flow.revising import Revising
from lockgate.policy.compile import understand
from lockgate.policy.differences import differences
from lockgate.seams import Revision
from lockgate.testing.clock import HandClock
from lockgate.testing.journal import ListAudit, ListJournal
from lockgate.testing.revisions import MemoryRevisions
from policies import CONTOSO

BLOCK = CONTOSO + '[operator]\nip_block_list = ["192.0.2.66"]\n'


@dataclasses.dataclass
class World:
    revisions: MemoryRevisions
    audit: ListAudit
    desk: Desk

    async def ask(self, request: Request, group: str = "") -> Any:
        rights = ROLE_GROUPS[group] if group else EVERYTHING
        return await self.desk.answer(request, Caller("7 ann", rights))


@pytest.fixture
def world() -> World:
    revisions, audit = MemoryRevisions({"contoso.toml": CONTOSO}), ListAudit()
    revising = Revising(revisions, audit, HandClock(), "mx.lockgate.test")
    sections = (PolicyDesk(revising), ObjectDesk(revising, lambda: "proof"))
    return World(revisions, audit, Desk(sections, audit, ListJournal()))


def add(table: str, name: str, *pairs: str) -> ObjectWrite:
    given = tuple(Assignment(*pair.partition("=")) for pair in pairs)
    return ObjectWrite("add", (table,), name, assignments=given)


CONNECTOR = add("outbound_connector", "HQ", "recipient_domains=x.test")
DOMAIN = add("accepted_domain", "x.test")
VOUCHED = add("accepted_domain", "x.test", "vouched_by_operator=true")
FORGED = add("accepted_domain", "x.test", "proven_at=2026-03-01T10:00:00Z")
FILTER = add("connection_filter", "Default", "ip_block_list=192.0.2.1")
RULE = add("mail_flow_rule", "R", "stop_rule_processing=true")
ORGANISATION = add("organisation", "fabrikam")
OPERATOR = add("operator", "operator", "ip_block_list=192.0.2.1")
APPLY, BACK, RELOAD = Apply({"contoso.toml": BLOCK}), Rollback(1), Reload()

EVERY = [CONNECTOR, DOMAIN, VOUCHED, FORGED, FILTER, RULE, ORGANISATION, OPERATOR, APPLY, BACK, RELOAD]
MAY = {
    "OrganizationManagement": EVERY,
    "MailFlowAdministrator": [CONNECTOR, DOMAIN],
    "HygieneManagement": [FILTER],
    "SecurityAdministrator": [FILTER],
    "RecordsManagement": [RULE],
    "ViewOnlyOrganizationManagement": [],
    "QuarantineAdministrator": [],
    "HelpDesk": [],
}


@pytest.mark.parametrize("group", list(MAY))
@pytest.mark.parametrize("request_", EVERY, ids=[f"{type(one).__name__}-{n}" for n, one in enumerate(EVERY)])
async def test_a_role_writes_what_is_its_own_and_nothing_else(world: World, group: str, request_: Request) -> None:
    answer = await world.ask(request_, group)
    if request_ in MAY[group]:
        assert answer.kind == Kind.OK, answer
    else:
        assert answer.kind == Kind.FORBIDDEN and "lacks the right" in answer.sentence
        assert len(world.revisions.kept) == 1
        (row,) = world.audit.rows
        assert row["did"] == "was refused" and row["by"] == "7 ann"


async def test_whoever_may_only_look_may_plan(world: World) -> None:
    answer = await world.ask(Plan({"contoso.toml": BLOCK}), "SecurityReader")
    assert answer.kind == Kind.OK and answer.result["differences"]


async def test_a_mail_flow_administrator_cannot_vouch_later_either(world: World) -> None:
    await world.ask(DOMAIN)
    for pair in ("vouched_by_operator=true", "proof=mine", "proven_at=2026-03-01T10:00:00Z", "organisation=x"):
        change = ObjectWrite("set", ("accepted_domain",), "x.test", assignments=(Assignment(*pair.partition("=")),))
        assert (await world.ask(change, "MailFlowAdministrator")).kind == Kind.FORBIDDEN, pair
    unset = ObjectWrite("set", ("accepted_domain",), "x.test", unset=("proof",))
    assert (await world.ask(unset, "MailFlowAdministrator")).kind == Kind.FORBIDDEN


async def test_the_audit_has_each_object_before_and_after(world: World) -> None:
    await world.ask(CONNECTOR)
    change = ObjectWrite("set", ("outbound_connector",), "hq", assignments=(Assignment("cost", "=", "5"),))
    await world.ask(change)
    await world.ask(ObjectWrite("remove", ("outbound_connector",), "HQ"))
    rows = [row for row in world.audit.rows if "object" in row]
    told = [(row["did"], (row["before"] or {}).get("cost"), (row["after"] or {}).get("cost")) for row in rows]
    assert told == [
        ("outbound_connector added", None, None),
        ("outbound_connector changed", None, 5),
        ("outbound_connector removed", 5, None),
    ]
    assert all(row["by"] == "7 ann" and row["organisation"] == "contoso" and row["revision"] for row in rows)
    assert rows[0]["before"] is None and rows[2]["after"] is None


async def test_a_revision_that_is_no_longer_understood_can_be_replaced(world: World) -> None:
    old = {"contoso.toml": CONTOSO + "word_of_an_older_program = 1\n"}
    world.revisions.kept[0], world.revisions.texts = Revision(1, 0.0, "start", old), old
    answer = await world.ask(Apply({"contoso.toml": BLOCK}))
    assert answer.kind == Kind.OK and world.revisions.in_force().number == 2


# --- what it means

HQ = '[[outbound_connector]]\nname = "HQ"\nuse_mx_record = false\nsmart_hosts = ["192.0.2.1"]\n'
ALL = HQ + 'recipient_domains = ["*"]\n'
SITE = '[[outbound_connector]]\nname = "Site"\nuse_mx_record = false\nsmart_hosts = ["192.0.2.9"]\n'
BANK = '[[inbound_connector]]\nname = "Bank"\nsender_domains = ["bank.test"]\n'
IPS = 'restrict_domains_to_ip_addresses = true\nsender_ip_addresses = ["203.0.113.0/24"]\n'
OWN = '[[inbound_connector]]\nname = "Own"\nconnector_type = "on_premises"\nsender_ip_addresses = ["192.0.2.3"]\n'
FILTERED = '[[connection_filter]]\nip_block_list = ["203.0.113.7"]\n'
RULED = '[[mail_flow_rule]]\nname = "City"\nrecipient_domain_is = ["c.test"]\nroute_message_outbound_connector = "HQ"\n'

FORGED = '[[anti_phishing_policy]]\nname = "Default"\n'
SEALERS = '[[arc_config]]\ntrusted_arc_sealers = ["list.test"]\n'

PROUD = '[[accepted_domain]]\ndomain_name = "x.test"\nvouched_by_operator = true\n'
TESTED, ENFORCED = PROUD + 'mta_sts_mode = "testing"\n', PROUD + 'mta_sts_mode = "enforce"\n'

SENTENCES = [
    (PROUD, TESTED, "others learn of its MTA-STS policy by the TXT record of _mta-sts.x.test: v=STSv1; id="),
    (TESTED, ENFORCED, "send its mail only to mx.lockgate.test, by TLS with a certificate of that name"),
    (ENFORCED, PROUD, "no MTA-STS policy of x.test is served; who has the old one keeps it"),
    ("", ALL, "mail for all domains without a connector of their own will now leave by connector HQ, to 192.0.2.1"),
    (ALL, "", "will now leave by MX (before: by connector HQ, to 192.0.2.1, TLS opportunistic)"),
    (ALL, ALL + SITE + 'recipient_domains = ["*.a.test"]\n',
     "mail for names below a.test will now leave by connector Site"),
    (HQ + 'connector_type = "on_premises"\n', HQ + 'connector_type = "on_premises"\nall_accepted_domains = true\n',
     "mail for contoso.com will now leave by connector HQ"),
    (ALL, ALL.replace("192.0.2.1", "192.0.2.2"), "mail that waits for it will leave to 192.0.2.2, TLS opportunistic"),
    (ALL, ALL + "enabled = false\n", "will wait and go no other way"),
    ("", HQ + "is_transport_rule_scoped = true\n", "only where a mail flow rule names it"),
    ("", BANK, "mail with a sender of bank.test that comes in plain text will be refused"),
    (BANK, BANK + IPS, "in plain text or from any address but 203.0.113.0/24 will be refused"),
    (BANK, BANK + "enabled = false\n", "no longer: mail with a sender of bank.test"),
    ("", OWN, "servers from 192.0.2.3 are the organisation's own and may relay its mail to anybody"),
    ("", FILTERED, "IP 203.0.113.7 will be refused for recipients of contoso"),
    (FILTERED, FILTERED + 'ip_allow_list = ["203.0.113.7"]\n', "mail from 203.0.113.7 skips the content filter"),
    ("", '[operator]\nip_block_list = ["192.0.2.66"]\n', "IP 192.0.2.66 will be refused at connect, by everybody"),
    ("", "[operator.limits]\nconnections = 5\n", "the limit connections is 5 for everybody (before: 10000)"),
    ("", '[[accepted_domain]]\ndomain_name = "x.test"\n', "mail for x.test is not taken until the domain is proven"),
    ("", '[[accepted_domain]]\ndomain_name = "x.test"\nvouched_by_operator = true\n',
     "mail for x.test is taken for recipients in the directory, all others are refused"),
    ('[[accepted_domain]]\ndomain_name = "x.test"\nvouched_by_operator = true\n', "",
     "mail for x.test is not taken any more"),
    ("", '[[remote_domain]]\ndomain_name = "*.far.test"\nndr_enabled = false\n',
     "senders at *.far.test get no reports of failure and delay from now on"),
    (HQ, HQ + RULED, "when recipient_domain_is c.test: route_message_outbound_connector HQ"),
    (HQ + RULED, HQ + RULED + "enabled = false\n", "the rule acts no more"),
    ("", FORGED, "a forged author will be refused where DMARC asks for rejection, held where it asks for quarantine"),
    (FORGED, FORGED + 'authentication_fail_action = "quarantine"\n', "held where nothing is asked for, held in its"),
    (FORGED, FORGED + 'authentication_fail_action = "none"\nhonor_dmarc_policy = false\n', "be delivered, but held"),
    ("", SEALERS, "what list.test sealed as proven will be taken for proven by contoso"),
    (SEALERS, "", "the seals of list.test will count for nothing with contoso"),
    ("", '[[remote_domain]]\ndomain_name = "*"\nauto_forward_enabled = false\n',
     "forwarding that people set up is dropped where it would leave to the outside"),
    ("", '[[remote_domain]]\ndomain_name = "x.test"\nauto_reply_enabled = false\n',
     "what answers by itself is dropped where it would leave to x.test"),
    ('[[remote_domain]]\ndomain_name = "x.test"\nallowed_oof_type = "none"\n', "",
     "what answers by itself may leave to x.test"),
    ("", '[[remote_domain]]\ndomain_name = "x.test"\ntrusted_mail_inbound_enabled = true\n',
     "proven mail from x.test shall skip content and recipient filters"),
    ("", '[[remote_domain]]\ndomain_name = "x.test"\ncontent_type = "mime_text"\n',
     "messages are passed on as they were written"),
    ("", FILTERED + 'gateway_ip_addresses = ["192.0.2.30"]\n', "mail from 192.0.2.30 skips the content filter"),
    ("", BANK + 'sender_ip_addresses = ["192.0.2.9"]\n',
     "mail with a sender of bank.test from 192.0.2.9 that comes in plain text will be refused"),
    ("", OWN + 'associated_accepted_domains = ["contoso.com"]\n',
     "are the organisation's own and count for mail to contoso.com only"),
    ('[[remote_domain]]\ndomain_name = "x.test"\nauto_forward_enabled = false\n', "",
     "forwarding that people set up may leave to x.test"),
]  # fmt: skip


def test_what_it_means_to_trust_an_organisation() -> None:
    two = '[[organisation]]\nname = "a"\n[[organisation]]\nname = "b"\n'
    trusting = '[[inbound_connector]]\nname = "S"\norganisation = "a"\ntrusted_organizations = ["b"]\n'
    old, new = (
        understand({"p.toml": text}, hostname="mx.lockgate.test", revision=1) for text in (two, two + trusting)
    )
    (one,) = differences(old.documents, new.documents)
    told = meaning(one, Both(old.policy, new.policy))
    assert told == ("mail of servers and people of b is taken, and nothing is demanded of it",)


@pytest.mark.parametrize(("before", "after", "sentence"), SENTENCES)
def test_what_a_change_means_for_mail(before: str, after: str, sentence: str) -> None:
    old, new = (
        understand({"p.toml": CONTOSO + text}, hostname="mx.lockgate.test", revision=1) for text in (before, after)
    )
    both = Both(old.policy, new.policy)
    told = [line for one in differences(old.documents, new.documents) for line in meaning(one, both)]
    assert any(sentence in line for line in told), told


def test_nothing_is_said_of_what_stays() -> None:
    one = understand({"p.toml": CONTOSO + ALL}, hostname="mx.lockgate.test", revision=1)
    other = understand({"q.toml": "# new\n" + CONTOSO, "r.toml": ALL}, hostname="mx.lockgate.test", revision=2)
    assert differences(one.documents, other.documents) == ()


def test_rules_in_another_order_are_told() -> None:
    second = RULED.replace("City", "Town")
    old = understand({"p.toml": CONTOSO + HQ + RULED + second}, hostname="mx.lockgate.test", revision=1)
    new = understand({"p.toml": CONTOSO + HQ + second + RULED}, hostname="mx.lockgate.test", revision=1)
    found = differences(old.documents, new.documents)
    assert {(one.name, one.properties[0][1:]) for one in found} == {("City", (1, 2)), ("Town", (2, 1))}
    third = RULED.replace("City", "Village")
    more = understand({"p.toml": CONTOSO + HQ + third + RULED + second}, hostname="mx.lockgate.test", revision=1)
    assert [one.name for one in differences(old.documents, more.documents)] == ["Village"], "the others only moved down"
