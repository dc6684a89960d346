"""Groups of conditions: what documents may say, what is run, what is told, and what other rooms see of it."""

from __future__ import annotations

import tomllib
from types import ModuleType

import pytest
from pydantic import Field, RootModel

from lockgate.flow.meaning import Both, meaning
from lockgate.mail.address import Address
from lockgate.mail.facts import Facts
from lockgate.mail.findings import BelongsTo, InText, Unknown
from lockgate.mail.headers import message_of
from lockgate.mail.ruling import Hit, Standing
from lockgate.policy import actions, conditions
from lockgate.policy.catalog import Catalog, standard
from lockgate.policy.compile import compile_policy, understand
from lockgate.policy.differences import differences
from lockgate.policy.documents import read
from lockgate.policy.editing import Edit, Place, changed
from lockgate.policy.kinds import condition
from lockgate.policy.problems import Invalid
from lockgate.policy.reference import rules_page
from lockgate.policy.rules import Case, Seen, no
from lockgate.policy.values import kind_of, value_of
from lockgate.policy.written import toml_of
from lockgate.testing.builders import connection_of
from policies import CONTOSO, policy, problems

RULE = '[[mail_flow_rule]]\nname = "R"\ndelete_message = true\n'
ANA = Address("ana", "contoso.com")
BILLS = '{subject_contains_words = ["bill"]}'
BOSS = '{sent_to = ["boss@contoso.com"]}'
MEMBER = '{sent_to_member_of = ["team@contoso.com"]}'
TEXT = '{subject_or_body_contains_words = ["falcon"]}'


def seen(either: str, subject: str = "hello", key: str = "either", recipient: Address = ANA, **learnt) -> Seen:
    """What the groups of a rule make of a message."""
    (rule,) = policy(f"{RULE}{key} = [{either}]\n").of("contoso").rules.all
    tests = rule.when if key == "either" else rule.unless
    message = message_of("id", f"Subject: {subject}\r\n\r\n".encode(), 100, "here")
    facts = Facts(0.0, connection_of(), None, (), message)
    (test,) = tests
    found = test(Case(facts, Standing("contoso")), recipient)
    if learnt:
        facts = facts.learn(dict.fromkeys(found.asks, learnt["answer"]))
        found = test(Case(facts, Standing("contoso")), recipient)
    return found


def test_one_group_is_enough_and_is_named() -> None:
    assert seen(f"{BOSS}, {BILLS}", "the bill") == Seen(Hit.YES, "group 2 hits: the subject has 'bill'")
    both = '{subject_contains_words = ["bill"], sent_to = ["ana@contoso.com"]}'
    assert seen(both, "bill").because == (
        "group 1 hits: the recipient is ana@contoso.com, and the subject has 'bill'"
    )


def test_each_that_misses_says_why() -> None:
    missed = seen(f"{BOSS}, {{subject_contains_words = ['bill'], except_if_sent_to = ['ana@contoso.com']}}", "a bill")
    assert missed == Seen(Hit.NO, (
        "none of its groups hits (group 1: the recipient is ana@contoso.com, none of boss@contoso.com; "
        "group 2: exception: the recipient is ana@contoso.com)"
    ))  # fmt: skip
    many = seen(", ".join([BOSS] * 30))
    assert "group 20: " in many.because and "group 21" not in many.because and "; and 10 more" in many.because


def test_exceptions_alone_are_a_not() -> None:
    other = "{except_if_subject_contains_words = ['bill']}"
    assert seen(other, "bill").hit is Hit.NO
    assert seen(other, "hello") == Seen(Hit.YES, "group 1 hits: none of its exceptions hits")


def test_groups_in_groups_have_numbers_of_their_own() -> None:
    inner = f"{{sent_to = ['ana@contoso.com'], either = [{BOSS}, {BILLS}]}}"
    assert seen(f"{BOSS}, {inner}", "bill").because == (
        "group 2 hits: the recipient is ana@contoso.com, and group 2.2 hits: the subject has 'bill'"
    )
    assert "group 2: none of its groups hits (group 2.1: the recipient" in seen(f"{BOSS}, {inner}").because


@pytest.mark.parametrize(
    ("either", "subject", "hit"),
    [
        (f"{MEMBER}, {BILLS}", "bill", Hit.YES),
        (f"{MEMBER}, {BILLS}", "hello", Hit.UNKNOWN),
        (f"{MEMBER}, {BOSS}", "hello", Hit.UNKNOWN),
        ("{sent_to_member_of = ['team@contoso.com'], subject_contains_words = ['bill']}", "hello", Hit.NO),
        ("{sent_to_member_of = ['team@contoso.com'], except_if_subject_contains_words = ['bill']}", "bill", Hit.NO),
        ("{except_if_sent_to_member_of = ['team@contoso.com']}", "hello", Hit.UNKNOWN),
        (f"{{either = [{MEMBER}]}}, {BOSS}", "hello", Hit.UNKNOWN),
    ],
)
@pytest.mark.parametrize("key", ["either", "except_if_either"])
def test_what_is_unknown_decides_nothing_while_something_else_does(either, subject, hit, key) -> None:
    for learnt in ({}, {"answer": Unknown("it is away")}):
        assert seen(either, subject, key, **learnt).hit is hit
    if hit is Hit.UNKNOWN:
        assert [type(one) for one in seen(either, subject, key).asks] == [BelongsTo]
        assert "it is away" in seen(either, subject, key, answer=Unknown("it is away")).because


def test_a_limit_is_for_good_only_if_nothing_else_may_tell() -> None:
    long = "{header_contains_words = {header = 'X-Long', words = ['a']}}"
    (rule,) = policy(f"{RULE}either = [{long}]\n").of("contoso").rules.all
    (both,) = policy(f"{RULE}either = [{long}, {MEMBER}]\n").of("contoso").rules.all
    message = message_of("id", b"X-Long: " + b"b " * 9000 + b"\r\n\r\n", 20_000, "here")
    case = Case(Facts(0.0, connection_of(), None, (), message), Standing("contoso"))
    assert rule.when[0](case, ANA).for_good
    assert not both.when[0](case, ANA).for_good


def test_what_is_asked_of_the_message_is_asked_for_groups_too() -> None:
    rules = policy(f"{RULE}either = [{BOSS}, {TEXT}]\n").of("contoso").rules
    assert [type(one) for one in rules.asks] == [InText]


@pytest.mark.parametrize(
    ("text", "domains", "by_domain"),
    [
        ("either = [{recipient_domain_is = ['a.test']}, {recipient_domain_is = ['b.test']}]", ("a.test", "b.test"),
         True),
        ("either = [{recipient_domain_is = ['a.test']}, {sent_to = ['x@b.test']}]", None, False),
        ("either = [{recipient_domain_is = ['a.test'], sent_to = ['x@a.test']}]", ("a.test",), False),
        ("either = [{either = [{recipient_domain_is = ['a.test']}]}]", ("a.test",), True),
        ("either = [{except_if_recipient_domain_is = ['a.test']}]", None, True),
        ("except_if_either = [{recipient_domain_is = ['a.test']}]", None, True),
        ("recipient_domain_is = ['c.test']\neither = [{recipient_domain_is = ['a.test']}, "
         "{recipient_domain_is = ['b.test']}]", ("c.test",), True),
        ("recipient_address_type = 'original'\neither = [{recipient_domain_is = ['a.test']}]", None, False),
    ],
)  # fmt: skip
def test_a_rule_is_found_by_domain_only_if_every_group_bounds_it(text, domains, by_domain) -> None:
    (rule,) = policy(f"{RULE}{text}\n").of("contoso").rules.all
    assert (rule.bounds.recipient_domains, rule.by_domain) == (domains, by_domain)


WRONG = {
    "unknown key": ("either = [\n  {sent_to = ['a@b.test']},\n  {subject_contains_wrds = ['a']},\n]",
                    "either[1].subject_contains_wrds", 11, "did you mean 'subject_contains_words'"),
    "an action": ("either = [{delete_message = true}]", "either[0].delete_message", 9, "there is no 'delete_message'"),
    "a property": ("either = [{name = 'x'}]", "either[0].name", 9, "there is no 'name' here"),
    "a bad value": ("either = [{sent_to = ['a@b.test', 'nobody']}]", "either[0].sent_to[1]", 9,
                    "is not a mail address"),
    "a bad expression": ("[[mail_flow_rule.except_if_either]]\nsubject_matches_patterns = ['(a']",
                         "except_if_either[0].subject_matches_patterns", 10, "is not closed"),
    "deep inside": (f"either = [{{either = [{BILLS}, {{sent_to = []}}]}}]", "either[0].either[1].sent_to", 9,
                    "at least 1 item"),
    "an empty group": ("either = [{}]", "either[0]", 9, "an empty one would hit every message"),
    "no group": ("either = []", "either", 9, "at least 1 item"),
    "no list": ("either = {sent_to = ['a@b.test']}", "either", 9, "must be a list"),
    "no table": ("either = ['a']", "either[0]", 9, "must be a table"),
    "too deep": (f"either = [{'{either = [' * 5}{BILLS}{']}' * 5}]", "either", 9, "at most 5 deep"),
    "too many": (f"either = [{', '.join([BILLS] * 101)}]", "either", 9, "at most 100 groups"),
    "too many together": (
        f"either = [{', '.join([BILLS] * 60)}]\nexcept_if_either = [{{either = [{', '.join([BILLS] * 40)}]}}]",
        "except_if_either", 10, "with those of either these are 101",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "path", "line", "words"), WRONG.values(), ids=WRONG)
def test_mistakes_are_told_with_their_place(text, path, line, words) -> None:
    (found,) = problems(f"{RULE}{text}\n")
    assert (found.path, found.line) == (f"mail_flow_rule[0].{path}", line), found
    assert words in found.message


def test_what_is_just_allowed() -> None:
    assert not problems(f"{RULE}either = [{'{either = [' * 4}{BILLS}{']}' * 4}]\n")
    assert not problems(f"{RULE}either = [{', '.join([BILLS] * 100)}]\n")


def test_hostile_nesting_is_refused_in_time() -> None:
    for deep in (6, 50, 90, 5000):
        assert problems(f"{RULE}either = [{'{either = [' * deep}{BILLS}{']}' * deep}]\n")


def test_exchange_has_no_groups() -> None:
    strict = CONTOSO.replace('name = "contoso"', 'name = "contoso"\ncompatibility = "exchange"', 1)
    found = problems(f"{RULE}either = [{BILLS}]\nexcept_if_either = [{BOSS}, {BILLS}]\n", above=strict)
    assert [one.path for one in found] == ["mail_flow_rule[0].either", "mail_flow_rule[0].except_if_either"]
    assert all("write a rule for each group" in one.message for one in found)


def test_names_within_groups_are_checked_as_elsewhere() -> None:
    """A condition that names another object, as a later one may."""

    class LeavesBy(RootModel[str], frozen=True):
        root: str = Field(description="Name of a connector.", examples=["NOLA"])

        def compile(self):
            return lambda case, recipient: no("it does not")

        def refers_to(self):
            return (("outbound_connector", self.root),)

    more = ModuleType("more")
    more.LeavesBy = condition("leaves_by", "It leaves by this connector", per_recipient=True)(LeavesBy)
    LeavesBy.__module__ = "more"
    catalog = Catalog.collect(conditions, actions, more)
    text = f"{CONTOSO}{RULE}either = [{BILLS}, {{except_if_leaves_by = 'NULA'}}]\n"
    known = '[[outbound_connector]]\nname = "NOLA"\nis_transport_rule_scoped = true\nrecipient_domains = ["x.test"]\n'
    with pytest.raises(Invalid) as trouble:
        compile_policy({"a": text + known}, hostname="mx.test", revision=1, catalog=catalog)
    (found,) = trouble.value.problems
    assert found.path == "mail_flow_rule[0].either[1].except_if_leaves_by" and "did you mean 'NOLA'?" in found.message
    sound = compile_policy({"a": text.replace("NULA", "NOLA") + known}, hostname="mx.test", revision=1, catalog=catalog)
    assert not [one for one in sound.warnings if "no mail flow rule names" in one.message]


# --- round trip, digest, differences, words ---------------------------------------------------------------------------

GROUPED = f"{CONTOSO}{RULE}either = [{BOSS}, {{subject_contains_words = ['bill'], either = [{BILLS}, {MEMBER}]}}]\n"
AS_TABLES = f"""{CONTOSO}{RULE}
[[mail_flow_rule.either]]
sent_to = ["boss@contoso.com"]
[[mail_flow_rule.either]]   # the other way
subject_contains_words = ["bill"]
[[mail_flow_rule.either.either]]
subject_contains_words = ["bill"]
[[mail_flow_rule.either.either]]
sent_to_member_of = ["team@contoso.com"]
"""


def documents(text: str):
    found, wrong, _ = read({"a.toml": text}, standard())
    assert wrong == []
    return found


def test_written_and_read_again_in_both_ways() -> None:
    first, other = documents(GROUPED), documents(AS_TABLES)
    assert first.rules[0].value == other.rules[0].value
    again = toml_of((one.table, one.value) for one in first.everything())
    assert documents(again).rules[0].value == first.rules[0].value
    assert len({policy(above=text).digest for text in (GROUPED, AS_TABLES, again)}) == 1
    assert policy(above=GROUPED).digest != policy(above=GROUPED.replace("boss@", "bess@")).digest


def test_a_rule_with_tables_of_groups_is_edited_as_others() -> None:
    after = changed({"a.toml": AS_TABLES}, Place("a.toml", "mail_flow_rule", 0), Edit({"enabled": False}))["a.toml"]
    assert "# the other way" in after and tomllib.loads(after)["mail_flow_rule"][0]["enabled"] is False
    groups = [{"subject_contains_words": ["bill"]}]
    after = changed({"a.toml": AS_TABLES}, Place("a.toml", "mail_flow_rule", 0), Edit({"either": groups}))["a.toml"]
    assert tomllib.loads(after)["mail_flow_rule"][0]["either"] == groups


def test_the_command_line_takes_the_groups_as_toml() -> None:
    model = standard().rule
    assert value_of(kind_of(model, "either"), [f"[{BILLS}, {BOSS}]"]) == [
        {"subject_contains_words": ["bill"]}, {"sent_to": ["boss@contoso.com"]},
    ]  # fmt: skip


def test_a_change_is_told_in_words() -> None:
    before, after = (understand({"a.toml": text}, hostname="mx.test", revision=1) for text in (CONTOSO, GROUPED))
    found = [one for one in differences(before.documents, after.documents) if one.table == "mail_flow_rule"]
    (told,) = [one.after for one in found[0].properties if one.name == "either"]
    assert told[0] == {"sent_to": ["boss@contoso.com"]}, "what is not said is not shown"
    said = " ".join(text for one in found for text in meaning(one, Both(before.policy, after.policy)))
    bill = "subject_contains_words bill"
    inner = f"({bill} and one of ({bill}), (sent_to_member_of team@contoso.com))"
    assert f"when one of (sent_to boss@contoso.com), {inner}: delete_message true" in said


def test_the_manual_shows_groups_that_can_be_written() -> None:
    section = rules_page().split("## Groups of conditions")[1].split("## Conditions")[0]
    example = section.split("```toml\n")[1].split("```")[0]
    assert not problems(example)
