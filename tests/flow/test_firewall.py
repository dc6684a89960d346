"""The header firewall over whole departures: what each copy bears depends on how it came and on its own way out."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision.judging import settled
from lockgate.flow.commit import Commit
from lockgate.flow.departure import Departure, whole
from lockgate.flow.firewall import Side, put_internal, side_of
from lockgate.flow.results import put_results
from lockgate.mail.facts import Facts
from lockgate.mail.findings import WhoSent
from lockgate.mail.header_edits import Change, HeaderEdit
from lockgate.mail.headers import message_of
from lockgate.mail.message import BodyRef
from lockgate.mail.record import Recorder
from lockgate.mail.ruling import Route, Ruling, Via
from lockgate.mail.task import PLAIN, Assigned, NewMessage, Stamp
from lockgate.policy.policy import Policy
from lockgate.testing.builders import address, connection_of, facts_of, people, policy_of, who_of
from lockgate.testing.sender import authenticated

ORGANISATION, CROSS = "X-MS-Exchange-Organization-", "X-MS-Exchange-CrossPremises-"
OURS, HYBRID, STRANGER, GATEWAY = "203.0.113.25", "203.0.113.26", "198.51.100.7", "198.51.100.25"
GUID = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
POLICY = policy_of("""
[[organisation]]
name = "contoso"
reject_direct_send = false
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[mailbox_store]]
name = "store"
kind = "lmtp"
servers = ["store.test:24"]
[[inbound_connector]]
name = "Own"
connector_type = "on_premises"
sender_ip_addresses = ["203.0.113.25"]
treat_messages_as_internal = true
[[inbound_connector]]
name = "Hybrid in"
connector_type = "on_premises"
sender_ip_addresses = ["203.0.113.26"]
cloud_services_mail_enabled = true
[[inbound_connector]]
name = "Gateway"
sender_domains = ["*"]
sender_ip_addresses = ["198.51.100.25"]
require_tls = false
ef_skip_last_ip = true
ef_users = ["david@contoso.com"]
[[outbound_connector]]
name = "Hybrid out"
connector_type = "on_premises"
recipient_domains = ["hybrid.test"]
cloud_services_mail_enabled = true
[[outbound_connector]]
name = "Other server"
connector_type = "on_premises"
recipient_domains = ["site.test"]
[[outbound_connector]]
name = "Partner"
recipient_domains = ["partner.test"]
""")
PEOPLE = people(
    who_of("contoso", "david@contoso.com", kind="mailbox"),
    who_of("contoso", "bob@contoso.com", kind="mailbox"),
    who_of("contoso", "julie@contoso.com", external="julie@hybrid.test"),
    who_of("contoso", "site@contoso.com", external="site@site.test"),
    who_of("contoso", "pat@contoso.com", external="pat@partner.test"),
    who_of("contoso", "out@contoso.com", external="out@away.test"),
)
EVERYBODY = ("david@contoso.com", "bob@contoso.com", "julie@contoso.com", "site@contoso.com", "pat@contoso.com",
             "out@contoso.com")  # fmt: skip
PLAIN_LETTER = ("From: a@shop.test", "Subject: hello")
DEPARTURE = Departure((put_internal, put_results), lambda sender, domain, at: address("srs@contoso.com"))
FORGED = (
    f"{ORGANISATION}AuthAs: Internal", f"{CROSS}AuthAs: Internal", "X-MS-Exchange-CrossTenant-AuthAs: Internal",
    f"{ORGANISATION}SCL : -1", f"{CROSS}Network-Message-Id: {GUID}",
    "X-MS-Exchange-ExternalOriginalInternetSender: ip=[192.0.2.10]",
)  # fmt: skip


def octets_of(*fields: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*fields, *PLAIN_LETTER)).encode() + b"\r\nbody\r\n"


def judged(content: bytes, *to: str, peer: str, sender: str = "a@shop.test") -> tuple[Facts, Ruling]:
    message = message_of("0190-0000", content, len(content), "house")

    def ask(questions):
        found = {q: authenticated("pass", domain="shop.test") for q in questions if isinstance(q, WhoSent)}
        return PEOPLE(tuple(q for q in questions if not isinstance(q, WhoSent))) | found

    return settled(POLICY, facts_of(sender, *to, connection=connection_of(peer), message=message), ask)


def committed(facts: Facts, ruling: Ruling, size: int) -> NewMessage:
    commit = Commit(Recorder(), lambda policy, name: 3600.0, 60.0)
    return commit.message(POLICY, facts, ruling, BodyRef("s", 0, size, 0), size, facts.at)


def copies(content: bytes, *to: str, peer: str = STRANGER, sender: str = "a@shop.test", policy: Policy = POLICY):
    """What each recipient's copy is on the wire, by address; the message comes whole through judge and commit."""
    facts, ruling = judged(content, *to, peer=peer, sender=sender)
    new = committed(facts, ruling, len(content))
    found: dict[str, bytes] = {}
    for task in new.tasks:
        one = Assigned(
            1, new.id, task.lane, task.route, new.envelope, new.body, new.size, task.recipients, new.received,
            new.expires, stamp=task.stamp,
        )  # fmt: skip
        as_it_is = DEPARTURE.as_it_is(one)
        parcels = (whole(one, content),) if as_it_is else asyncio.run(DEPARTURE.dress(policy, one, content))
        for parcel in parcels:
            for number in parcel.recipients:
                found[task.recipients[number].id.original.text] = parcel.content
    return found


def fields(content: bytes) -> dict[str, str]:
    """Internal fields of a copy."""
    lines = content.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    pairs = (line.partition(": ")[::2] for line in lines if line.lower().startswith("x-ms-exchange-"))
    return dict(pairs)


def written(auth_as: str, direction: str, prefix: str = ORGANISATION, known: str = "0190-0000") -> dict[str, str]:
    return {
        f"{prefix}Network-Message-Id": known, f"{prefix}AuthAs": auth_as, f"{prefix}AuthSource": "mx.lockgate.test",
        f"{prefix}MessageDirectionality": direction,
    }  # fmt: skip


def test_what_a_stranger_writes_reaches_nobody() -> None:
    content = octets_of(*FORGED)
    found = copies(content, *EVERYBODY)
    ours = written("Anonymous", "Incoming")
    assert fields(found["david@contoso.com"]) == ours
    assert fields(found["julie@contoso.com"]) == ours | written("Anonymous", "Incoming", CROSS)
    for other in ("site@contoso.com", "pat@contoso.com", "out@contoso.com"):
        assert found[other] == octets_of(), other


def test_mail_without_any_is_not_touched_on_its_way_outside() -> None:
    content = octets_of()
    facts, ruling = judged(content, "pat@contoso.com", "out@contoso.com", "site@contoso.com", peer=STRANGER)
    assert [task.stamp for task in committed(facts, ruling, len(content)).tasks] == [PLAIN] * 3


def test_an_own_server_without_the_switch_is_a_stranger_to_the_header() -> None:
    found = copies(octets_of(*FORGED), "david@contoso.com", "out@contoso.com", peer=OURS, sender="ann@contoso.com")
    assert fields(found["david@contoso.com"]) == written("Internal", "Originating")
    assert found["out@contoso.com"] == octets_of()


def test_the_other_side_of_a_hybrid_is_believed() -> None:
    says = (f"{ORGANISATION}SCL: 9", f"{CROSS}SCL: -1", f"{CROSS}AuthAs: Internal", f"{CROSS}AuthSource: ex1.local",
            f"{CROSS}Network-Message-Id: {GUID}", f"{CROSS}Rules-Execution: a", "X-MS-Exchange-CrossTenant-Id: t")
    found = copies(octets_of(*says), *EVERYBODY, peer=HYBRID, sender="ann@contoso.com")
    ours = written("Internal", "Originating", known=GUID) | {
        f"{ORGANISATION}AuthSource": "ex1.local", f"{ORGANISATION}SCL": "-1", f"{ORGANISATION}Rules-Execution": "a",
    }  # fmt: skip
    assert fields(found["david@contoso.com"]) == ours
    mirrored = {name.replace(ORGANISATION, CROSS): value for name, value in ours.items()}
    assert fields(found["julie@contoso.com"]) == ours | mirrored
    for other in ("site@contoso.com", "pat@contoso.com", "out@contoso.com"):
        assert found[other] == octets_of(), other


def test_the_trace_keeps_the_id_of_the_other_side() -> None:
    content = octets_of(f"{CROSS}Network-Message-Id: {GUID}")
    ann = "ann@contoso.com"
    for peer, sender, known in ((HYBRID, ann, GUID), (OURS, ann, ""), (STRANGER, "a@b.test", "")):
        facts, ruling = judged(content, "david@contoso.com", peer=peer, sender=sender)
        assert committed(facts, ruling, len(content)).network_id == known


def test_the_true_source_is_told_to_own_servers_only() -> None:
    content = octets_of("Received: from spam.test (x [192.0.2.66]) by gw.example; today")
    found = copies(content, *EVERYBODY, peer=GATEWAY)
    value = "ip=[192.0.2.66];domain=spam.test"
    names = ("X-MS-Exchange-ExternalOriginalInternetSender", "X-MS-Exchange-SkipListedInternetSender")
    told = {whom: tuple(fields(copy).get(name, "") for name in names) for whom, copy in found.items()}
    assert told == {
        "david@contoso.com": (value, value),
        "bob@contoso.com": ("", value),  # not in scope: only computed
        "julie@contoso.com": ("", value),
        "site@contoso.com": ("", value),
        "pat@contoso.com": ("", ""),
        "out@contoso.com": ("", ""),
    }


def test_what_a_rule_writes_stays_within() -> None:
    stamp = Stamp()
    edits = (HeaderEdit(Change.SET, f"{ORGANISATION}SCL", "7"),)
    for route, kept in (
        (Route(Via.MAILBOX, "contoso", store="store"), {f"{ORGANISATION}SCL": "7"}),
        (Route(Via.CONNECTOR, "contoso", "Hybrid out"), {f"{ORGANISATION}SCL": "7", f"{CROSS}SCL": "7"}),
        (Route(Via.CONNECTOR, "contoso", "Other server"), {f"{ORGANISATION}SCL": "7"}),
        (Route(Via.CONNECTOR, "contoso", "Partner"), {}),
        (Route(Via.MX, "contoso", "", "away.test"), {}),
        (Route(Via.CONNECTOR, "contoso", "gone"), {}),
    ):
        facts, ruling = judged(octets_of(), "pat@contoso.com", peer=STRANGER)
        new = committed(facts, ruling, 10)
        recipients = tuple(msgspec.structs.replace(one, edits=edits) for one in new.tasks[0].recipients)
        task = Assigned(1, "id", route.lane, route, new.envelope, new.body, 1, recipients, 0.0, 1.0, stamp=stamp)
        (parcel,) = asyncio.run(DEPARTURE.dress(POLICY, task, octets_of()))
        assert fields(parcel.content) == kept, route


@pytest.mark.parametrize(
    ("route", "side"),
    [
        (Route(Via.MAILBOX, "contoso"), Side.MAILBOX),
        (Route(Via.CONNECTOR, "contoso", "Hybrid out"), Side.HYBRID),
        (Route(Via.CONNECTOR, "contoso", "Other server"), Side.OWN_SERVER),
        (Route(Via.CONNECTOR, "contoso", "Partner"), Side.OUTSIDE),
        (Route(Via.MX, "contoso", "", "x.test"), Side.OUTSIDE),
        (Route(Via.CONNECTOR, "gone", "Hybrid out"), Side.OUTSIDE),
    ],
)
def test_sides(route: Route, side: Side) -> None:
    assert side_of(POLICY, route) is side


SAID = st.lists(
    st.sampled_from([*FORGED, f"{CROSS}SCL: -1", "Received: from s.test ([192.0.2.66]) by gw; today", "X-Other: x"]),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(
    SAID, st.sets(st.sampled_from(EVERYBODY), min_size=2), st.sampled_from([OURS, HYBRID, STRANGER, GATEWAY]),
    st.sampled_from(["ann@contoso.com", "a@shop.test"]),
)  # fmt: skip
def test_a_copy_depends_on_its_own_way_alone(said, to, peer, sender) -> None:
    content = octets_of(*said)
    together = copies(content, *sorted(to), peer=peer, sender=sender)
    for whom in to:
        assert copies(content, whom, peer=peer, sender=sender)[whom] == together[whom]


@settings(max_examples=60, deadline=None)
@given(SAID, st.sampled_from([STRANGER, GATEWAY]), st.sampled_from(["ann@contoso.com", "a@shop.test"]))
def test_no_stranger_decides_what_a_copy_says(said, peer, sender) -> None:
    honest = octets_of(*[one for one in said if not one.startswith("X-MS-")])
    plain = copies(honest, *EVERYBODY, peer=peer, sender=sender)
    assert copies(octets_of(*said), *EVERYBODY, peer=peer, sender=sender) == plain
