"""Who may write to whom: accept and reject lists, members only, proven senders only (specification 1.6 rule 8)."""

from __future__ import annotations

import pytest

from decision.judging import fates, ruled, settled, why
from decision.test_expand import BASE, group, judged, mailbox, policy
from lockgate.decision.stage import Depth
from lockgate.decision.system import system_ruling
from lockgate.mail.facts import Point
from lockgate.mail.findings import MembersOf, Restriction
from lockgate.policy.compile import compile_policy
from lockgate.testing.builders import connection_of, facts_of, people, who_of

OURS = "192.0.2.25"
LOCAL = Restriction(authenticated_only=True)


@pytest.mark.parametrize(
    ("kind", "code"),
    [("distribution_group", "5.7.133"), ("mailbox", "5.7.134"), ("mail_user", "5.7.136"), ("mail_contact", "5.7.136")],
)
def test_only_proven_senders_of_the_organisation(kind: str, code: str) -> None:
    ask = people(who_of("contoso", "r@contoso.com", kind=kind, restriction=LOCAL), mailbox("ana"),
                 members={"r@contoso.com": ["ana@contoso.com"]})  # fmt: skip
    at_rcpt = ruled(policy(), facts_of("x@sender.test", "r@contoso.com"), ask, until=Point.RCPT)
    assert fates(at_rcpt) == [f"550 {code}"]
    forged = facts_of("ana@contoso.com", "r@contoso.com")
    assert fates(ruled(policy(), forged, ask, until=Point.RCPT)) == [f"550 {code}"]
    # An own server with a stranger's sender proves nothing, a login of the organisation does.
    assert fates(judged(ask, "r@contoso.com", peer=OURS)) == [f"550 {code}"]
    for connection in (connection_of(OURS), connection_of(login="ana@contoso.com")):
        facts = facts_of("ana@contoso.com", "r@contoso.com", connection=connection)
        assert fates(ruled(policy(), facts, ask, until=Point.RCPT)) == ["undecided"]


STAFF = {
    "staff@contoso.com": ["ana@contoso.com", "team@contoso.com", "partner@contoso.com", "guest@out.test"],
    "team@contoso.com": ["staff@contoso.com", "ben@contoso.com"],
}


def world(restriction: Restriction, **more):
    return people(
        group("staff"), group("team"), mailbox("ana"), mailbox("ben"), mailbox("kim"),
        who_of("contoso", "partner@contoso.com", kind="mail_contact", external="p@partner.test"),
        mailbox("boss", restriction=restriction), aliases={"a.smith@contoso.com": "ana@contoso.com"}, members=STAFF,
        **more,
    )  # fmt: skip


SENDERS = [
    # sender, peer, is ana or a member of staff or of a group within
    ("ana@contoso.com", OURS, True),
    ("A.Smith@contoso.com", OURS, True),
    ("ben@contoso.com", OURS, True),
    ("kim@contoso.com", OURS, False),
    ("p@partner.test", "198.51.100.9", True),
    ("guest@out.test", "198.51.100.9", True),
    ("x@sender.test", "198.51.100.9", False),
    ("", "198.51.100.9", False),
]


@pytest.mark.parametrize(("sender", "peer", "member"), SENDERS)
def test_lists_name_people_and_groups_whose_members_are_meant(sender: str, peer: str, member: bool) -> None:
    accepting = world(Restriction(accept_from=("staff@contoso.com",)))
    assert (fates(judged(accepting, "boss@contoso.com", sender=sender, peer=peer)) == ["550 5.7.124"]) is not member
    rejecting = world(Restriction(reject_from=("staff@contoso.com",)))
    assert (fates(judged(rejecting, "boss@contoso.com", sender=sender, peer=peer)) == ["550 5.7.124"]) is member


def test_a_name_in_a_list_and_reject_wins() -> None:
    ask = world(Restriction(accept_from=("ana@contoso.com", "kim@contoso.com"), reject_from=("ana@contoso.com",)))
    found = {
        who: fates(judged(ask, "boss@contoso.com", sender=f"{who}@contoso.com", peer=OURS)) for who in ("ana", "kim")
    }
    assert found == {"ana": ["550 5.7.124"], "kim": ["-> contoso/mailboxes boss@contoso.com"]}


def test_an_own_address_that_nothing_proves_is_believed_only_where_it_is_refused() -> None:
    claim = {"sender": "ana@contoso.com", "peer": "198.51.100.9"}
    ask = world(Restriction(accept_from=("ana@contoso.com",)))
    assert fates(judged(ask, "boss@contoso.com", **claim)) == ["550 5.7.124"]
    ask = world(Restriction(reject_from=("ana@contoso.com",)))
    assert fates(judged(ask, "boss@contoso.com", **claim)) == ["550 5.7.124"]


def test_members_only() -> None:
    ask = people(group("staff", restriction=Restriction(members_only=True)), group("team"), mailbox("ana"),
                 mailbox("ben"), mailbox("kim"), members=STAFF)  # fmt: skip
    for sender, peer, expected in (
        ("ben@contoso.com", OURS, None), ("guest@out.test", "198.51.100.9", None),
        ("kim@contoso.com", OURS, "550 5.7.124"), ("ben@contoso.com", "198.51.100.9", "550 5.7.133"),
        ("", "198.51.100.9", "550 5.7.133"),
    ):  # fmt: skip
        said = fates(judged(ask, "staff@contoso.com", sender=sender, peer=peer))
        assert (said == [expected]) if expected else said[0].startswith("expanded")
    assert fates(judged(ask, "staff@contoso.com")) == ["550 5.7.133"]


def test_what_the_directory_cannot_say_puts_off_unless_it_is_decided_anyhow() -> None:
    everybody = world(Restriction(accept_from=("ana@contoso.com", "staff@contoso.com")))
    silent = people(failing="on fire")

    def ask(questions):
        return {q: (silent if isinstance(q, MembersOf) else everybody)((q,))[q] for q in questions}

    ruling = judged(ask, "boss@contoso.com", sender="ben@contoso.com", peer=OURS)
    assert fates(ruling) == ["451 4.3.0"] and "on fire" in why(ruling.recipients[0])
    listed = judged(ask, "boss@contoso.com", sender="ana@contoso.com", peer=OURS)
    assert fates(listed) == ["-> contoso/mailboxes boss@contoso.com"]


def test_a_restriction_behind_a_contact_holds_as_well() -> None:
    ask = people(who_of("contoso", "c@contoso.com", kind="mail_contact", external="boss@contoso.com"),
                 mailbox("boss", restriction=LOCAL))  # fmt: skip
    assert fates(judged(ask, "c@contoso.com")) == ["550 5.7.134"]


def test_reports_of_own_servers_are_let_through_and_so_are_ours() -> None:
    ask = people(mailbox("boss", restriction=Restriction(authenticated_only=True, accept_from=("kim@contoso.com",))))
    assert fates(judged(ask, "boss@contoso.com", sender="", peer=OURS)) == ["-> contoso/mailboxes boss@contoso.com"]
    assert fates(judged(ask, "boss@contoso.com", sender="")) == ["550 5.7.134"]
    whole = compile_policy({"a": BASE}, hostname="mx.test", revision=1, keeps_mailboxes=True)
    _, ruling = system_ruling(whole, ask, facts_of("", "boss@contoso.com"), "contoso")
    assert fates(ruling) == ["-> contoso/mailboxes boss@contoso.com"]


def test_what_was_looked_at_is_told_in_full() -> None:
    ask = world(Restriction(accept_from=("staff@contoso.com",)))
    facts = facts_of("ana@contoso.com", "boss@contoso.com", connection=connection_of(OURS))
    _, ruling = settled(policy(), facts, ask, Point.RCPT, None, Depth.FULL)
    steps = {step.subject: step.because for step in ruling.recipients[0].steps}
    assert steps["restriction"] == "boss@contoso.com takes mail of this sender"
