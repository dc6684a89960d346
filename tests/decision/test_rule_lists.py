"""Rules that look into named lists: asked, recorded, judged again without asking; an outage is no verdict."""

from __future__ import annotations

import msgspec

from decision.judging import fates, settled
from decision.test_route import BASE, HQ
from lockgate.decision.stage import Depth
from lockgate.flow.excerpt import about, narrow
from lockgate.flow.listed import with_lists
from lockgate.mail.findings import Found, InList, ListInText, OnList, Unknown
from lockgate.mail.headers import message_of
from lockgate.mail.lists import ListKind, ListName
from lockgate.mail.record import Recorder
from lockgate.policy.listed import read_entry
from lockgate.testing.builders import facts_of, people, policy_of
from lockgate.testing.lists import MemoryLists, MemoryView

LISTS = "".join(
    f'[[named_list]]\nname = "{name}"\nkind = "{kind}"\n'
    for name, kind in (("partners", "domains"), ("vip", "addresses"), ("names", "words"))
)


def rule(name: str, *lines: str) -> str:
    return "\n".join(["[[mail_flow_rule]]", f'name = "{name}"', *lines, ""])


def world(**entries: list[str]) -> MemoryLists:
    lists = MemoryLists()
    kinds = {"partners": ListKind.DOMAINS, "vip": ListKind.ADDRESSES, "names": ListKind.WORDS}
    for name, texts in entries.items():
        kind = kinds[name]
        lists.views[ListName("contoso", kind, name)] = MemoryView([read_entry(kind, text) for text in texts], 7)
    return lists


def asking(lists: MemoryLists, text: OnList | Unknown | None = None):
    otherwise = with_lists(lists, people())

    def ask(questions):
        rest = tuple(one for one in questions if not isinstance(one, ListInText))
        told = {one: text or OnList("", 7) for one in questions if isinstance(one, ListInText)}
        return told | (otherwise(rest) if rest else {})

    return ask


def letter(subject: str, author: str = "ann@shop.fabrikam.com"):
    return message_of("id", f"From: {author}\r\nSubject: {subject}\r\n\r\n".encode(), 1000, "here")


def reasons(ruling) -> str:
    return "; ".join(step.because for step in ruling.recipients[0].steps)


PARTNERS = rule("P", 'sender_in_list = ["partners", "vip"]', "delete_message = true")


def outcome(text: str, lists: MemoryLists, *to: str, sender: str = "x@far.test", subject: str = "hello", body=None):
    policy = policy_of(BASE + LISTS + HQ + text)
    facts = facts_of(sender, *(to or ("ben@contoso.com",)), message=letter(subject))
    return policy, *settled(policy, facts, asking(lists, body), depth=Depth.FULL)


def test_the_sender_is_found_by_domain_or_address_where_the_rule_looks() -> None:
    _, facts, ruling = outcome(PARTNERS, world(partners=["fabrikam.com"]))
    assert fates(ruling)[0].startswith("dropped")
    said = "shop.fabrikam.com is, or is below, 'fabrikam.com', which is on the list partners (revision 7)"
    assert said in reasons(ruling)
    assert InList("contoso", "partners", ListKind.DOMAINS, "shop.fabrikam.com") in facts.findings
    assert fates(outcome(PARTNERS, world(vip=["Ann@Shop.Fabrikam.com"]))[2])[0].startswith("dropped")
    envelope = PARTNERS.replace("delete", 'sender_address_location = "envelope"\ndelete')
    assert fates(outcome(envelope, world(partners=["fabrikam.com"]))[2]) == ["-> contoso/HQ ben@contoso.com"]
    assert fates(outcome(envelope, world(partners=["far.test"]))[2])[0].startswith("dropped")
    assert fates(outcome(envelope, world(partners=["far.test"]), sender="")[2]) == ["-> contoso/HQ ben@contoso.com"]


def test_an_empty_list_is_told_and_matches_nothing() -> None:
    _, _, ruling = outcome(PARTNERS, world(vip=["z@z.test"]))
    assert "the sender is on none of partners, vip; partners has no entries" in reasons(ruling)
    _, _, ruling = outcome(PARTNERS, world())
    assert "partners, vip have no entries" in reasons(ruling)


def test_of_recipients_each_has_an_answer_of_its_own() -> None:
    text = rule("V", 'recipient_in_list = ["vip"]', "delete_message = true")
    _, _, ruling = outcome(text, world(vip=["BEN@contoso.com"]), "ann@contoso.com", "ben@contoso.com")
    assert [fate.split()[0] for fate in fates(ruling)] == ["->", "dropped:"]


def test_words_are_looked_for_in_the_subject_and_in_the_text() -> None:
    text = rule("W", 'subject_or_body_contains_list = ["names"]', "delete_message = true")
    names = world(names=["Project Falcon"])
    assert fates(outcome(text, names, subject="the PROJECT  falcon!")[2])[0].startswith("dropped")
    assert fates(outcome(text, names, subject="falcon")[2]) == ["-> contoso/HQ ben@contoso.com"]
    assert fates(outcome(text, names, body=OnList("Project Falcon", 7))[2])[0].startswith("dropped")
    assert fates(outcome(text, names, body=Unknown("on fire"))[2]) == ["451 4.3.0"]
    # Too long a text is a limit and no outage.
    assert fates(outcome(text, names, body=OnList("", 7, cut=True))[2]) == ["-> contoso/HQ ben@contoso.com"]
    _, facts, _ = outcome(rule("S", 'subject_contains_list = ["names"]', "delete_message = true"), names)
    assert not [one for one, _ in facts.findings.items() if isinstance(one, ListInText)], "the text is not read for it"


def test_a_rule_sees_what_an_earlier_one_did_to_the_subject() -> None:
    text = rule("A", 'prepend_subject = "[FALCON] "') + rule(
        "W", 'subject_contains_list = ["names"]', "delete_message = true"
    )
    assert fates(outcome(text, world(names=["falcon"]))[2])[0].startswith("dropped")


def test_what_cannot_be_read_is_no_verdict() -> None:
    lists = world(partners=["fabrikam.com"])
    lists.broken = "on fire"
    assert fates(outcome(PARTNERS, lists)[2]) == ["451 4.3.0"]
    only_told = rule("T", 'sender_in_list = ["partners"]', 'mode = "audit"', "delete_message = true")
    assert fates(outcome(only_told, lists)[2]) == ["-> contoso/HQ ben@contoso.com"], "where it decides nothing"


def test_recorded_answers_are_judged_again_by_nobody_also_of_one_recipient_alone() -> None:
    text = PARTNERS.replace("delete_message = true", 'set_header = {name = "X-P", value = "1"}') + rule(
        "V", 'recipient_in_list = ["vip", "partners"]', "delete_message = true"
    ) + rule("W", 'subject_or_body_contains_list = ["names"]', 'set_header = {name = "X-W", value = "1"}')  # fmt: skip
    lists = world(partners=["fabrikam.com", "far.contoso.com"], vip=["b7@contoso.com"], names=["hello"])
    to = [f"b{n}@contoso.com" for n in range(30)] + ["x@far.contoso.com"]
    policy, facts, ruling = outcome(text, lists, *to)
    recorder = Recorder()
    facts, ruling = narrow(facts, ruling, "contoso")
    assert len(facts.findings.items()) > 60

    def nobody(questions):
        raise AssertionError(questions)

    for number in (0, 7, 30):
        part, mine = about(facts, ruling, ruling.recipients[number])
        story = recorder.read_story(recorder.write_story(part, mine))
        assert len(part.findings.items()) < 12
        bare = msgspec.structs.replace(story.facts)
        _, again = settled(policy, bare, nobody, depth=Depth.FULL)
        assert again.recipients[0].disposition == ruling.recipients[number].disposition
        assert again.recipients[0].effects == ruling.recipients[number].effects
    assert [fates(ruling)[n].split()[0] for n in (0, 7, 30)] == ["->", "dropped:", "dropped:"]
    assert not any(isinstance(answer, Found) for _, answer in facts.findings.items())
