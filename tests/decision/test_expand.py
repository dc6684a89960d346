"""Groups and forwarding: who gets a copy, as whom it is judged, how circles end (specification 1.5, 1.6, 1.22)."""

from __future__ import annotations

import msgspec
import pytest

from decision.judging import fates, ruled, said, settled, why
from lockgate.decision import expand, judge
from lockgate.decision.answer import answer
from lockgate.decision.judge import released
from lockgate.mail import replies
from lockgate.mail.address import Address
from lockgate.mail.facts import Point
from lockgate.mail.findings import Members, Restriction, Who
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Deliver, Direction, Refuse, Resolved, Ruling, Verdict
from lockgate.policy.compile import compile_policy
from lockgate.policy.policy import Policy
from lockgate.testing.builders import address, connection_of, facts_of, message_of, people, who_of

BASE = """
[[organisation]]
name = "contoso"
reject_direct_send = false
[[accepted_domain]]
organisation = "contoso"
domain_name = "contoso.com"
default = true
vouched_by_operator = true
[[accepted_domain]]
organisation = "contoso"
domain_name = "closed.contoso.com"
sending_to_domain_disabled = true
vouched_by_operator = true
[[inbound_connector]]
organisation = "contoso"
name = "onprem"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
[[organisation]]
name = "fabrikam"
[[accepted_domain]]
organisation = "fabrikam"
domain_name = "fabrikam.com"
vouched_by_operator = true
[[inbound_connector]]
organisation = "fabrikam"
name = "strict"
sender_domains = ["sender.test"]
require_tls = true
"""


def policy(text: str = "") -> Policy:
    return compile_policy({"a": BASE + text}, hostname="mx.test", revision=1, keeps_mailboxes=True)


def mailbox(name: str, **more) -> Who:
    return who_of("contoso", name if "@" in name else f"{name}@contoso.com", kind="mailbox", **more)


def group(name: str, **more) -> Who:
    return who_of("contoso", f"{name}@contoso.com", kind="distribution_group", **more)


def judged(
    ask, *recipients: str, text: str = "", sender: str = "x@sender.test", peer: str = "198.51.100.9", **more
) -> Ruling:
    return ruled(policy(text), facts_of(sender, *recipients, connection=connection_of(peer), **more), ask)


def told(ruling: Ruling) -> dict[str, str]:
    return {verdict.recipient.text: said(verdict.disposition) for verdict in ruling.recipients}


HERE = "-> contoso/mailboxes {}@contoso.com"


def test_the_order_of_stages_and_where_derived_recipients_begin() -> None:
    assert judge.RECIPIENT_STAGES[: expand.HERE + 1] == (*expand.BEFORE, expand.STAGE)
    names = [stage.name for stage in judge.STAGES]
    assert names.index("expand") == names.index("resolve") + 2 and names.index("expand") < names.index("authenticate")


def test_T_TR_1_a_group_is_expanded_and_each_member_has_a_verdict_of_its_own() -> None:
    ask = people(
        group("sales"), mailbox("ana"), mailbox("ben"), who_of("contoso", "far@contoso.com", external="far@out.test"),
        members={"sales@contoso.com": ["ana@contoso.com", "ben@contoso.com", "far@contoso.com", "guest@out.test"]},
    )  # fmt: skip
    ruling = judged(ask, "sales@contoso.com")
    assert told(ruling) == {
        "sales@contoso.com": "expanded: 4 members of sales@contoso.com",
        "ana@contoso.com, member of sales@contoso.com": HERE.format("ana"),
        "ben@contoso.com, member of sales@contoso.com": HERE.format("ben"),
        "far@contoso.com, member of sales@contoso.com": "-> contoso/mx:out.test far@out.test",
        "guest@out.test, member of sales@contoso.com": "-> contoso/mx:out.test guest@out.test",
    }
    assert answer(ruling) is None
    assert {verdict.recipient.root.original.text for verdict in ruling.recipients} == {"sales@contoso.com"}
    ana = ruling.recipients[1]
    assert (ana.standing.kind, ana.identity) == ("mailbox", address("ana@contoso.com"))
    assert ana.steps[0].subject == "group sales@contoso.com"


def test_nested_groups_and_groups_that_contain_each_other_deliver_once() -> None:
    ask = people(
        group("all"), group("sales"), mailbox("ana"), mailbox("ben"),
        members={"all@contoso.com": ["sales@contoso.com", "ana@contoso.com"],
                 "sales@contoso.com": ["all@contoso.com", "ben@contoso.com", "ana@contoso.com"]},
    )  # fmt: skip
    ruling = judged(ask, "all@contoso.com")
    assert told(ruling) == {
        "all@contoso.com": "expanded: 2 members of all@contoso.com",
        "sales@contoso.com, member of all@contoso.com":
            "expanded: 3 members of sales@contoso.com, 2 of them get it already",
        "ana@contoso.com, member of all@contoso.com": HERE.format("ana"),
        "ben@contoso.com, member of sales@contoso.com": HERE.format("ben"),
    }  # fmt: skip


def test_whoever_is_named_besides_gets_one_copy_as_named() -> None:
    ask = people(group("sales"), mailbox("ana"), mailbox("ben"), aliases={"a.smith@contoso.com": "ana@contoso.com"},
                 members={"sales@contoso.com": ["a.smith@contoso.com", "ben@contoso.com"]})  # fmt: skip
    ruling = judged(ask, "sales@contoso.com", "a.smith@contoso.com", "ana@contoso.com")
    assert told(ruling) == {
        "sales@contoso.com": "expanded: 2 members of sales@contoso.com, 1 of them gets it already",
        "a.smith@contoso.com": HERE.format("ana"),
        "ana@contoso.com": "resolved: the same recipient already gets it as a.smith@contoso.com",
        "ben@contoso.com, member of sales@contoso.com": HERE.format("ben"),
    }


def test_forwarding_with_and_without_a_copy() -> None:
    ask = people(mailbox("ana", forwarding="ben@contoso.com"), mailbox("ben"),
                 mailbox("kim", forwarding="kim@out.test", keeps_copy=True))  # fmt: skip
    assert told(judged(ask, "ana@contoso.com")) == {
        "ana@contoso.com": "resolved: forwarded to ben@contoso.com",
        "ben@contoso.com, forwarded by ana@contoso.com": HERE.format("ben"),
    }
    assert told(judged(ask, "kim@contoso.com")) == {
        "kim@contoso.com": HERE.format("kim"),
        "kim@out.test, forwarded by kim@contoso.com": "-> contoso/mx:out.test kim@out.test",
    }


def test_a_mail_user_forwards_as_well_and_nobody_forwards_to_himself() -> None:
    for keeps, own in ((True, "-> contoso/mx:out.test u@out.test"), (False, "resolved: forwarded to f@far.test")):
        onward = {"forwarding": "f@far.test", "keeps_copy": keeps}
        ask = people(who_of("contoso", "u@contoso.com", external="u@out.test", **onward))
        sent_on = "-> contoso/mx:far.test f@far.test"
        assert fates(judged(ask, "u@contoso.com")) == [own, sent_on]
    loop = people(mailbox("ana", forwarding="ana@contoso.com"))
    assert fates(judged(loop, "ana@contoso.com")) == [HERE.format("ana")]


def test_a_rule_about_recipients_outside_is_for_the_copy_that_is_forwarded_and_not_for_the_one_kept() -> None:
    text = (
        '[[mail_flow_rule]]\norganisation = "contoso"\nname = "Outside"\nsent_to_scope = "not_in_organization"\n'
        "quarantine = true\n"
    )
    ask = people(mailbox("ana", forwarding="x@out.test", keeps_copy=True))
    assert told(judged(ask, "ana@contoso.com", text=text)) == {
        "ana@contoso.com": "-> contoso/mailboxes ana@contoso.com",
        "x@out.test, forwarded by ana@contoso.com": "held: rule Outside",
    }


def test_two_mailboxes_that_keep_and_forward_to_each_other_deliver_once_each() -> None:
    ask = people(mailbox("ana", forwarding="ben@contoso.com", keeps_copy=True),
                 mailbox("ben", forwarding="ana@contoso.com", keeps_copy=True))  # fmt: skip
    for first, second in (("ana", "ben"), ("ben", "ana")):
        ruling = judged(ask, f"{first}@contoso.com")
        assert [said(verdict.disposition) for verdict in ruling.recipients] == [HERE.format(first), HERE.format(second)]


def test_two_mailboxes_that_only_forward_to_each_other_are_a_loop_the_sender_hears_of() -> None:
    ask = people(mailbox("ana", forwarding="ben@contoso.com"), mailbox("ben", forwarding="ana@contoso.com"))
    for recipients in (["ana@contoso.com"], ["ben@contoso.com"], ["ana@contoso.com", "ben@contoso.com"]):
        ruling = judged(ask, *recipients)
        reply = answer(ruling)
        assert reply is not None and (reply.code, reply.enhanced) == (554, "5.4.6")
        assert "nobody keeps a copy" in why(ruling.recipients[-1])


def test_a_circle_with_a_way_out_ends_there() -> None:
    ask = people(
        mailbox("ana", forwarding="team@contoso.com"), group("team"), mailbox("ben"),
        members={"team@contoso.com": ["ana@contoso.com", "ben@contoso.com"]},
    )  # fmt: skip
    ruling = judged(ask, "ana@contoso.com")
    assert answer(ruling) is None
    assert told(ruling)["ben@contoso.com, member of team@contoso.com"] == HERE.format("ben")


@pytest.mark.parametrize("names", ["team", "ana", "ana team"])
def test_a_group_of_nobody_but_itself_is_refused(names: str) -> None:
    members = [f"{name}@contoso.com" for name in names.split()]
    ask = people(mailbox("ana", forwarding="team@contoso.com"), group("team"), members={"team@contoso.com": members})
    ruling = judged(ask, "team@contoso.com")
    reply = answer(ruling)
    assert reply is not None and reply.enhanced == "5.4.6"


def test_two_groups_that_lead_to_each_other_by_mailboxes_without_a_copy() -> None:
    """Each is a recipient already where the other leads to it; left out both times, the message would vanish."""
    ask = people(
        mailbox("ana", forwarding="g@contoso.com"), mailbox("ben", forwarding="h@contoso.com"), group("g"), group("h"),
        members={"g@contoso.com": ["ben@contoso.com"], "h@contoso.com": ["ana@contoso.com"]},
    )  # fmt: skip
    ruling = judged(ask, "ana@contoso.com", "ben@contoso.com")
    reply = answer(ruling)
    assert reply is not None and reply.enhanced == "5.4.6"


def test_a_member_of_another_organisation_is_judged_as_if_the_session_had_named_it() -> None:
    ask = people(group("sales"), mailbox("ana"), who_of("fabrikam", "u@fabrikam.com", kind="mailbox"),
                 members={"sales@contoso.com": ["ana@contoso.com", "u@fabrikam.com"]})  # fmt: skip
    ruling = judged(ask, "sales@contoso.com")
    _, ana, other = ruling.recipients
    assert said(ana.disposition) == HERE.format("ana")
    assert said(other.disposition) == "550 5.7.1" and other.standing.organisation == "fabrikam"  # TLS is owed there
    named = judged(ask, "u@fabrikam.com").recipients[0]
    assert (named.disposition, named.standing) == (other.disposition, other.standing)
    # What contoso's own server may do for contoso opens no door of fabrikam.
    ours = judged(ask, "sales@contoso.com", sender="ana@contoso.com", peer="192.0.2.25")
    assert ours.recipients[1].standing.direction is Direction.ORIGINATING
    assert ours.recipients[2].standing.direction is Direction.INCOMING
    assert ours.recipients[2].standing.inbound_connector == ""


def test_members_whom_nobody_knows_and_closed_domains_are_refused_and_the_others_get_theirs() -> None:
    ask = people(group("sales"), mailbox("ana"), mailbox("old@closed.contoso.com"),
                 members={"sales@contoso.com": ["gone@contoso.com", "ana@contoso.com", "old@closed.contoso.com",
                                                "who@closed.contoso.com"]})  # fmt: skip
    ruling = judged(ask, "sales@contoso.com")
    assert told(ruling) == {
        "sales@contoso.com": "expanded: 4 members of sales@contoso.com",
        "ana@contoso.com, member of sales@contoso.com": HERE.format("ana"),
        "old@closed.contoso.com, member of sales@contoso.com": "550 5.7.1",
        "gone@contoso.com, member of sales@contoso.com": "550 5.1.10",
        "who@closed.contoso.com, member of sales@contoso.com": "550 5.7.1",
    }
    assert answer(ruling) is None
    alone = people(group("sales"), members={"sales@contoso.com": ["gone@contoso.com"]})
    assert answer(judged(alone, "sales@contoso.com")) == replies.NOT_FOUND


def test_a_group_without_members_goes_on_where_somebody_may_know_them() -> None:
    ask = people(group("sales"))
    assert fates(judged(ask, "sales@contoso.com")) == ["550 5.1.10"]
    hq = """
    [[outbound_connector]]
    organisation = "contoso"
    name = "HQ"
    connector_type = "on_premises"
    use_mx_record = false
    smart_hosts = ["hq.test"]
    all_accepted_domains = true
    """
    assert fates(judged(ask, "sales@contoso.com", text=hq)) == ["-> contoso/HQ sales@contoso.com"]


def test_members_that_cannot_be_asked_for_put_off_that_group_alone() -> None:
    everybody = people(group("sales"), mailbox("ana"), members={"sales@contoso.com": ["ana@contoso.com"]})
    nobody = people(failing="it is being replaced")

    def ask(questions):
        return {q: (nobody if "MembersOf" in type(q).__name__ else everybody)((q,))[q] for q in questions}

    ruling = judged(ask, "sales@contoso.com", "ana@contoso.com")
    assert fates(ruling) == ["451 4.3.0", HERE.format("ana")]
    assert "it is being replaced" in why(ruling.recipients[0])


REMOTE = '[[remote_domain]]\norganisation = "contoso"\ndomain_name = "{}"\nauto_forward_enabled = false\n'


@pytest.mark.parametrize("domain", ["out.test", "*"])
def test_forwarding_that_people_set_up_may_not_leave_where_the_remote_domain_says_so(domain: str) -> None:
    text = REMOTE.format(domain)
    by_user = people(mailbox("ana", forwarding="a@out.test", by_user=True, keeps_copy=True))
    ruling = judged(by_user, "ana@contoso.com", text=text)
    assert said(ruling.recipients[0].disposition) == HERE.format("ana")
    assert said(ruling.recipients[1].disposition) == (
        f"dropped: forwarding that people set up may not leave to out.test (remote domain {domain})"
    )
    by_administrator = people(mailbox("ana", forwarding="a@out.test"))
    assert fates(judged(by_administrator, "ana@contoso.com", text=text))[1] == "-> contoso/mx:out.test a@out.test"
    inside = people(mailbox("ana", forwarding="ben@contoso.com", by_user=True), mailbox("ben"))
    assert fates(judged(inside, "ana@contoso.com", text=text))[1] == HERE.format("ben")


def test_delivery_parameters_go_with_forwarding_and_end_at_groups() -> None:
    ask = people(mailbox("ana", forwarding="a@out.test"), group("g"), members={"g@contoso.com": ["b@out.test"]})
    facts = facts_of("x@sender.test")
    for notify, passed in ((("SUCCESS",), ()), (("NEVER",), ("NEVER",))):
        named = tuple(RecipientId(address(a), None, "rfc822;first@x.test", notify)
                      for a in ("ana@contoso.com", "g@contoso.com"))  # fmt: skip
        _, ruling = settled(policy(), msgspec.structs.replace(facts, recipients=named), ask)
        forwarded, member = ruling.recipients[2:]
        assert (forwarded.recipient.orcpt, forwarded.recipient.notify) == ("rfc822;first@x.test", notify)
        assert (member.recipient.orcpt, member.recipient.notify) == ("", passed)


# --- the sender of what is sent on ------------------------------------------------------------------------------------


def rewrites(ruling: Ruling) -> list[str]:
    return [v.disposition.rewrite for v in ruling.recipients if isinstance(v.disposition, Deliver)]


def test_the_sender_is_rewritten_where_a_derived_copy_leaves() -> None:
    ask = people(mailbox("ana", forwarding="a@out.test", keeps_copy=True), mailbox("ben", forwarding="ana@contoso.com"),
                 group("g"), members={"g@contoso.com": ["b@out.test", "ben@contoso.com"]})  # fmt: skip
    ruling = judged(ask, "ana@contoso.com")
    assert rewrites(ruling) == ["", "contoso.com"]
    assert "x@sender.test is not ours" in why(ruling.recipients[1])
    assert rewrites(judged(ask, "g@contoso.com")) == ["contoso.com", "", "contoso.com"]
    assert rewrites(judged(ask, "ana@contoso.com", sender="")) == ["", ""]
    assert rewrites(judged(ask, "ana@contoso.com", sender="z@contoso.com", peer="192.0.2.25")) == ["", ""]
    assert rewrites(judged(ask, "a@out.test", sender="z@contoso.com", peer="192.0.2.25")) == [""]


@pytest.mark.parametrize(
    ("kind", "wanted", "expected"),
    [("on_premises", "", ""), ("on_premises", "sender_rewriting_enabled = true", "contoso.com"),
     ("partner", "", "contoso.com")],
)  # fmt: skip
def test_an_own_server_is_told_the_true_sender_unless_it_wants_the_other(kind: str, wanted: str, expected: str) -> None:
    text = f"""
    [[outbound_connector]]
    organisation = "contoso"
    name = "out"
    connector_type = "{kind}"
    use_mx_record = false
    smart_hosts = ["out.test"]
    recipient_domains = ["*"]
    {wanted}
    """
    ask = people(mailbox("ana", forwarding="a@out.test"))
    assert rewrites(judged(ask, "ana@contoso.com", text=text)) == [expected]


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "octets", "taken"),
    [(4_999, 26 * 1024**2, True), (5_000, 25 * 1024**2, True), (5_000, 25 * 1024**2 + 1, False),
     (100_000, 5 * 1024**2 + 1, False)],
)  # fmt: skip
def test_large_messages_to_large_groups_are_refused(members: int, octets: int, taken: bool) -> None:
    many = Members((), tuple(Address(f"u{n}", "out.test") for n in range(members)), 1)
    facts = facts_of("x@sender.test", message=message_of(octets))
    verdict = Verdict(RecipientId(address("g@contoso.com")), address("g@contoso.com"), group=True)
    facts = facts.learn({expand.question_of(verdict): many})
    outcome = expand.expand(policy(), facts, Ruling(Point.DATA), verdict, judge.Depth.LIVE)
    if taken:
        assert len(outcome.children) == members  # type: ignore[union-attr]
    else:
        assert isinstance(outcome, Verdict) and outcome.disposition == Refuse(replies.MESSAGE_TOO_LARGE)
        assert f"it has {members} members" in why(outcome)


def test_more_members_than_may_be_derived_are_refused_before_any_is() -> None:
    few = "[operator]\nlimits = { derived_recipients_per_message = 1000 }\n"
    ask = people(group("small"), group("big"), mailbox("ana"), members={
        "small@contoso.com": ["ana@contoso.com", "x@out.test"],
        "big@contoso.com": [f"u{n}@out.test" for n in range(1000)],
    })  # fmt: skip
    ruling = judged(ask, "small@contoso.com", "big@contoso.com", text=few)
    assert fates(ruling)[1] == "550 5.5.3" and len(ruling.recipients) == 4
    assert answer(judged(ask, "big@contoso.com", text=few)) is None


def test_groups_nested_too_deeply_are_refused_and_cost_no_more() -> None:
    names = [f"g{n}" for n in range(60)]
    members = {f"g{n}@contoso.com": [f"g{n + 1}@contoso.com"] for n in range(59)}
    ruling = judged(people(*(group(name) for name in names), members=members), "g0@contoso.com")
    assert len(ruling.recipients) == 33 and fates(ruling)[-1] == "554 5.4.6"


# --- plus addressing --------------------------------------------------------------------------------------------------


def test_what_stands_behind_a_plus_is_for_the_recipient_unless_it_is_somebody_elses_address() -> None:
    ask = people(mailbox("ana"), mailbox("ana+list"), mailbox("info"), aliases={"kim@contoso.com": "ana@contoso.com"})
    for named, target in (
        ("ana+tag", "ana"), ("ANA+a+b", "ana"), ("kim+tag", "ana"), ("ana+list", "ana+list"), ("ana+", "ana"),
            ('"ana+tag"', "ana"),
    ):  # fmt: skip
        assert fates(judged(ask, f"{named}@contoso.com")) == [HERE.format(target)]
    for named in ("+tag", '"ana+t g"', "bob+tag"):
        assert fates(judged(ask, f"{named}@contoso.com")) == ["550 5.4.1"]
    off = BASE.replace("reject_direct_send = false", "disable_plus_address_in_recipients = true", 1)
    without = compile_policy({"a": off}, hostname="mx.test", revision=1, keeps_mailboxes=True)
    assert fates(ruled(without, facts_of("x@sender.test", "ana+tag@contoso.com"), ask)) == ["550 5.4.1"]


def test_the_order_of_ways_to_a_recipient() -> None:
    text = """
    [[accepted_domain]]
    organisation = "contoso"
    domain_name = "alias.test"
    alias_of = "contoso.com"
    catch_all_recipient_id = "info@contoso.com"
    vouched_by_operator = true
    """
    everybody = {"exact": "a+b@alias.test", "alias": "a+b@contoso.com", "plus": "a@alias.test", "both": "a@contoso.com",
                 "all": "info@contoso.com"}  # fmt: skip
    while everybody:
        ask = people(*(mailbox(text) for text in everybody.values()))
        (verdict,) = judged(ask, "a+b@alias.test", text=text).recipients
        assert verdict.target.text == next(iter(everybody.values()))
        del everybody[next(iter(everybody))]
    assert fates(judged(people(), "a+b@alias.test", text=text)) == ["550 5.4.1"]


# --- released, and restrictions of members ----------------------------------------------------------------------------


def test_a_member_with_restrictions_refuses_for_itself() -> None:
    ask = people(group("sales"), mailbox("ana", restriction=Restriction(authenticated_only=True)), mailbox("ben"),
                 group("inner", restriction=Restriction(authenticated_only=True)), mailbox("kim"),
                 members={"sales@contoso.com": ["ana@contoso.com", "ben@contoso.com", "inner@contoso.com"],
                          "inner@contoso.com": ["kim@contoso.com"]})  # fmt: skip
    assert told(judged(ask, "sales@contoso.com")) == {
        "sales@contoso.com": "expanded: 3 members of sales@contoso.com",
        "ana@contoso.com, member of sales@contoso.com": "550 5.7.134",
        "ben@contoso.com, member of sales@contoso.com": HERE.format("ben"),
        "inner@contoso.com, member of sales@contoso.com": "550 5.7.133",
    }
    ours = judged(ask, "sales@contoso.com", sender="ben@contoso.com", peer="192.0.2.25")
    assert [said(v.disposition) for v in ours.recipients if not isinstance(v.disposition, Resolved)] == [
        HERE.format("ana"), HERE.format("ben"), HERE.format("kim"),
    ]  # fmt: skip


def test_a_chain_of_contacts_behind_a_group_is_followed() -> None:
    ask = people(group("sales"), who_of("contoso", "c@contoso.com", kind="mail_contact", external="team@contoso.com"),
                 group("team"), mailbox("ana"),
                 members={"sales@contoso.com": ["c@contoso.com"], "team@contoso.com": ["ana@contoso.com"]})  # fmt: skip
    assert told(judged(ask, "sales@contoso.com")) == {
        "sales@contoso.com": "expanded: 1 member of sales@contoso.com",
        "c@contoso.com, member of sales@contoso.com": "expanded: 1 member of team@contoso.com",
        "ana@contoso.com, member of c@contoso.com": HERE.format("ana"),
    }


def test_what_an_older_judge_held_goes_on_with_dispose() -> None:
    ask = people(group("sales"), mailbox("ana"), members={"sales@contoso.com": ["ana@contoso.com"]})
    ruling = judged(ask, "ana@contoso.com")
    (state,) = released(ruling, {ruling.recipients[0].recipient}, older=True).recipients
    assert judge.RECIPIENT_STAGES[state.stage].name == "dispose"
