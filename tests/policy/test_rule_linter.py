"""Findings about mail flow rules: each is told with place, reason and cure, and none where there is no cause."""

import re
import tomllib
from pathlib import Path

import pytest

from lockgate.policy.compile import compile_policy
from policies import CONTOSO, policy

ROOT = Path(__file__).resolve().parents[2]
MARK = 'set_header = {name = "X-A", value = "b"}\n'
DELETE, STOP = "delete_message = true\n", "stop_rule_processing = true\n"


def rule(text, name="R"):
    return f'[[mail_flow_rule]]\nname = "{name}"\n{text}'


def marks(*lines):
    """A rule that only writes a field, with these conditions."""
    return rule(MARK + "\n".join([*lines, ""]))


def two(first, second):
    return rule(first + "\n", "A") + rule(second + "\n", "B")


def moves(name, who, to, *lines):
    return rule("\n".join([f"sent_to = {who}", f"redirect_message_to = {to}", *lines, ""]), name)


CONNECTOR = '[[outbound_connector]]\nname = "NOLA"\nis_transport_rule_scoped = true\nsize_limit = "10MB"\n'
VIA = 'route_message_outbound_connector = "NOLA"\n'
OPERATOR = '[operator]\nlimits = {message_size = "20MB"}\n'
SMALL = CONTOSO.replace('name = "contoso"', 'name = "contoso"\nmax_receive_size = "5MB"\nmax_send_size = "8MB"', 1)
ANA, BEN, CARL = "['ana@contoso.com']", "['ben@contoso.com']", "['carl@contoso.com']"
IN, OUT_ = "'in_organization'", "'not_in_organization'"
ENVELOPE = "sender_address_location = 'envelope'"

LISTS = '[[named_list]]\nname = "l1"\nkind = "domains"\n[[named_list]]\nname = "l2"\nkind = "domains"\n'

FOUND = {
    "dates the wrong way round": (
        marks("activation_date = 2027-01-02T00:00:00Z", "expiry_date = 2027-01-01T00:00:00Z"),
        "expiry_date", "rule 'R' ends before it begins",
    ),
    "a condition and its own exception": (
        marks("subject_contains_words = ['A']", "except_if_subject_contains_words = ['a', 'b']"),
        "subject_contains_words", "whatever hits subject_contains_words is excepted",
    ),
    "expressions excepted": (
        marks(r"subject_matches_patterns = ['\d']", r"except_if_subject_matches_patterns = ['x', '\d']"),
        "subject_matches_patterns", "is excepted by",
    ),
    "a domain below an excepted one": (
        marks("recipient_domain_is = ['eu.contoso.com']", "except_if_recipient_domain_is = ['contoso.com']"),
        "recipient_domain_is", "is excepted by",
    ),
    "a network within an excepted one": (
        marks("sender_ip_ranges = ['192.0.2.7']", "except_if_sender_ip_ranges = ['192.0.2.0/28']"),
        "sender_ip_ranges", "is excepted by",
    ),
    "a size beyond the exception": (
        marks("message_size_over = '2MB'", "except_if_message_size_over = '1MB'"),
        "message_size_over", "is excepted by",
    ),
    "an attachment beyond the whole": (
        marks("attachment_size_over = '2MB'", "except_if_message_size_over = '1MB'"),
        "attachment_size_over", "a message with such an attachment is excepted",
    ),
    "an attribute excepted": (
        marks("recipient_ad_attribute_contains_words = {city = ['Rome']}",
              "except_if_recipient_ad_attribute_contains_words = {city = ['Rome', 'Oslo'], state = ['x']}"),
        "recipient_ad_attribute_contains_words", "is excepted by",
    ),
    "the same importance": (
        marks("with_importance = 'low'", "except_if_with_importance = 'low'"), "with_importance", "is excepted by",
    ),
    "people in no such domain": (
        marks("recipient_domain_is = ['fabrikam.com']", f"sent_to = {ANA}"),
        "sent_to", "none of sent_to is in a domain of recipient_domain_is",
    ),
    "people in an excepted domain": (
        marks("except_if_recipient_domain_is = ['contoso.com']", f"sent_to = {ANA}"),
        "sent_to", "all that sent_to names is excepted by except_if_recipient_domain_is",
    ),
    "senders in an excepted domain": (
        marks("except_if_sender_domain_is = ['contoso.com']", f"from = {ANA}"),
        "from", "all that from names is excepted by except_if_sender_domain_is",
    ),
    "strangers inside": (
        marks(f"sent_to_scope = {IN}", "recipient_domain_is = ['fabrikam.com']"),
        "sent_to_scope", "all that recipient_domain_is names is outside of the organisation",
    ),
    "own people outside": (
        marks(f"sent_to_scope = {OUT_}", f"sent_to = {ANA}"),
        "sent_to_scope", "all that sent_to names is inside of the organisation",
    ),
    "senders of elsewhere inside": (
        marks(f"from_scope = {IN}", "sender_domain_is = ['fabrikam.com']", ENVELOPE),
        "from_scope", "all that sender_domain_is names is outside",
    ),
    "in a group": (
        marks(f"either = [{{sent_to = {ANA}}}, {{sent_to = {BEN}, except_if_sent_to = {BEN}}}]"),
        "either", "this group never matches: whatever hits sent_to",
    ),
    "everything deleted": (rule(DELETE), "delete_message", "every message that reaches it is deleted"),
    "everything refused": (rule("reject_message = {}\n"), "reject_message", "every message that reaches it is refused"),
    "everything held": (rule("quarantine = true\n"), "quarantine", "every message that reaches it is held"),
    "everything redirected": (
        rule(f"redirect_message_to = {ANA}\n"), "redirect_message_to", "every message that reaches it is redirected",
    ),
    "behind one that ends all": (two(STOP, f"{MARK}sent_to = {ANA}"), "name", "'B' is never reached: 'A' comes first"),
    "behind one for more": (
        two("subject_contains_words = ['a', 'b']\nquarantine = true", f"{MARK}subject_contains_words = ['B']"),
        "name", "'B' is never reached",
    ),
    "behind one with more exceptions than it lacks": (
        two(f"sent_to = {ANA}\nexcept_if_from = {BEN}\n{DELETE}",
            f"sent_to = {ANA}\nwith_importance = 'low'\nexcept_if_from = ['ben@contoso.com', 'x@far.test']\n{MARK}"),
        "name", "'B' is never reached",
    ),
    "by its priority": (
        two(f"priority = 2\nrecipient_domain_is = ['eu.contoso.com']\n{MARK}",
            f"priority = 1\nrecipient_domain_is = ['contoso.com']\n{STOP}"),
        "name", "'A' is never reached: 'B' comes first",
    ),
    "everything matches": (marks("subject_matches_patterns = ['x', '.*']"), "subject_matches_patterns", "'.*' matches"),
    "an optional letter": (marks("subject_matches_patterns = ['a?']"), "subject_matches_patterns", "'a?' matches"),
    "every address": (
        marks("recipient_address_matches_patterns = ['@']"), "recipient_address_matches_patterns", "'@' matches",
    ),
    "every address of any": (
        marks(r"any_of_recipient_address_matches_patterns = ['\.']"),
        "any_of_recipient_address_matches_patterns", r"'\.' matches",
    ),
    "every field": (
        marks("header_matches_patterns = {header = 'X-A', patterns = ['x*']}"),
        "header_matches_patterns", "'x*' matches",
    ),
    "every attribute": (
        marks("sender_ad_attribute_matches_patterns = {city = ['^']}"),
        "sender_ad_attribute_matches_patterns", "'^' matches",
    ),
    "a classification that is and is not there": (
        marks("has_classification = 'Secret'", "has_no_classification = true"), "has_classification", "never matches",
    ),
    "an exception in a group": (
        marks("subject_contains_words = ['x']", "except_if_either = [{subject_contains_words = ['x', 'y']}]"),
        "except_if_either", "by a group of except_if_either",
    ),
    "the only group against an exception outside": (
        marks(f"either = [{{from = {ANA}}}]", f"except_if_from = {ANA}"), "either", "this group never matches",
    ),
    "a group against a condition outside": (
        marks("recipient_domain_is = ['contoso.com']", "either = [{sent_to = ['x@far.test']}]"),
        "either", "none of sent_to is in a domain of recipient_domain_is",
    ),
    "a size in a group": (
        OPERATOR + marks("either = [{message_size_over = '900MB'}]"), "either", "is ever taken",
    ),
    "a list among those of an earlier rule": (
        LISTS + two("sender_in_list = ['l1', 'l2']\n" + STOP, "sender_in_list = ['l1']\n" + MARK),
        "name", "rule 'B' is never reached",
    ),
    "every name in a group": (
        marks(f"either = [{{sent_to = {ANA}}}, {{attachment_name_matches_patterns = ['.']}}]"), "either", "'.' matches",
    ),
    "beyond the operator's limit": (
        OPERATOR + marks("message_size_over = '21MB'"), "message_size_over", "the operator allows 20971520 octets",
    ),
    "an attachment beyond the operator's limit": (
        OPERATOR + marks("attachment_size_over = '21MB'"), "attachment_size_over", "the operator allows",
    ),
    "beyond what the connector takes": (
        CONNECTOR + rule(f"message_size_over = '11MB'\n{VIA}"), "message_size_over", "'NOLA' takes 10485760 octets",
    ),
    "in a circle": (
        moves("A", ANA, BEN) + moves("B", BEN, CARL) + moves("C", CARL, ANA, "subject_contains_words = ['x']"),
        "redirect_message_to", "'A' redirects in a circle: ana@contoso.com -> ben@contoso.com -> carl@contoso.com",
    ),
    "to whom it is for": (moves("A", ANA, "['Ana@contoso.com']"), "redirect_message_to", "nothing is changed"),
    "a reserved condition": (
        rule(f"{DELETE}sender_in_recipient_list = ['L']\n"), "sender_in_recipient_list", "never matches here",
    ),
    "a reserved exception": (
        rule(f"{DELETE}sent_to = {ANA}\nexcept_if_has_sender_override = true\n"),
        "except_if_has_sender_override", "never matches here",
    ),
    "a reserved condition in a group": (
        marks(f"either = [{{sent_to = {ANA}}}, {{recipient_in_sender_list = ['L']}}]"), "either", "never matches here",
    ),
    "approval": (marks("moderate_message_by_user = ['b@c.test']"), "moderate_message_by_user", "the copy is held"),
    "encryption": (marks("apply_ome = true"), "apply_ome", "nothing here encrypts messages, so the copy is held"),
    "a disclaimer": (marks("apply_html_disclaimer = {text = '<p>'}"), "apply_html_disclaimer", "goes without"),
    "a disclaimer that must be": (
        marks("apply_html_disclaimer = {text = '<p>', fallback_action = 'reject'}"), "apply_html_disclaimer", "is held",
    ),
    "a sub type": (marks("rule_sub_type = 'dlp'"), "rule_sub_type", "a rule like others here"),
    "old expressions": (marks("use_legacy_regex = true"), "use_legacy_regex", "always read as those of .NET"),
    "a policy of DLP": (marks("dlp_policy = 'PCI'"), "dlp_policy", "there are no DLP policies here"),
}  # fmt: skip

MISSED = {
    "dates": marks("activation_date = 2027-01-01T00:00:00Z", "expiry_date = 2027-01-02T00:00:00Z"),
    "a narrower exception": marks("subject_contains_words = ['a', 'b']", "except_if_subject_contains_words = ['a']"),
    "expressions of another case": marks(
        r"subject_matches_patterns = ['\d']", r"except_if_subject_matches_patterns = ['\D']"
    ),
    "an exception below the domain": marks(
        "recipient_domain_is = ['contoso.com']", "except_if_recipient_domain_is = ['eu.contoso.com']"
    ),
    "a domain that only ends alike": marks(
        "recipient_domain_is = ['notcontoso.com']", "except_if_recipient_domain_is = ['contoso.com']"
    ),
    "a network around the excepted one": marks(
        "sender_ip_ranges = ['192.0.2.0/24']", "except_if_sender_ip_ranges = ['192.0.2.0/28']"
    ),
    "a network of the other family": marks("sender_ip_ranges = ['::1']", "except_if_sender_ip_ranges = ['0.0.0.0/1']"),
    "between two sizes": marks("message_size_over = '1MB'", "except_if_message_size_over = '2MB'"),
    "a large attachment": marks("attachment_size_over = '1MB'", "except_if_message_size_over = '2MB'"),
    "another attribute": marks(
        "recipient_ad_attribute_contains_words = {city = ['Rome'], state = ['x']}",
        "except_if_recipient_ad_attribute_contains_words = {city = ['Rome']}",
    ),
    "another field": marks(
        "header_contains_words = {header = 'X-A', words = ['a']}",
        "except_if_header_contains_words = {header = 'X-B', words = ['a']}",
    ),
    "another importance": marks("with_importance = 'low'", "except_if_with_importance = 'high'"),
    "some of them in the domain": marks(
        "recipient_domain_is = ['fabrikam.com']", "sent_to = ['ana@contoso.com', 'x@eu.fabrikam.com']"
    ),
    "some of them excepted": marks(
        "except_if_recipient_domain_is = ['contoso.com']", "sent_to = ['ana@contoso.com', 'x@fabrikam.com']"
    ),
    "an own domain inside": marks(f"sent_to_scope = {IN}", "recipient_domain_is = ['contoso.com', 'fabrikam.com']"),
    "an own domain below": marks(f"sent_to_scope = {IN}", "recipient_domain_is = ['com']"),
    "own domain outside, names below it are": marks(f"sent_to_scope = {OUT_}", "recipient_domain_is = ['contoso.com']"),
    "the address as sent": marks(f"sent_to_scope = {OUT_}", f"sent_to = {ANA}", "recipient_address_type = 'original'"),
    "what From says is no scope": marks(f"from_scope = {IN}", "sender_domain_is = ['fabrikam.com']"),
    "our name from outside": marks(f"from_scope = {OUT_}", "sender_domain_is = ['contoso.com']", ENVELOPE),
    "a group that hits": marks(f"either = [{{sent_to = {ANA}}}, {{sent_to = {BEN}, except_if_from = {BEN}}}]"),
    "conditions in different groups": marks(f"either = [{{sent_to = {ANA}}}, {{except_if_sent_to = {ANA}}}]"),
    "some deleted": rule(f"{DELETE}sent_to = {ANA}\n"),
    "all but some deleted": rule(f"{DELETE}except_if_sent_to = {ANA}\n"),
    "a group deleted": rule(f"{DELETE}either = [{{sent_to = {ANA}}}]\n"),
    "everything deleted, but not now": rule(f"{DELETE}enabled = false\n"),
    "everything deleted, only told": rule(f"{DELETE}mode = 'audit'\n"),
    "everything held for a day": rule("quarantine = true\nexpiry_date = 2027-01-02T00:00:00Z\n"),
    "everything marked": rule(MARK),
    "behind one for fewer": two(f"sent_to = {ANA}\n{STOP}", f"{MARK}sent_to = ['ana@contoso.com', 'ben@contoso.com']"),
    "behind one that asks more": two(f"sent_to = {ANA}\nwith_importance = 'low'\n{STOP}", f"{MARK}sent_to = {ANA}"),
    "behind one that is disabled": two(f"enabled = false\n{STOP}", MARK),
    "behind one on audit": two(f"mode = 'audit'\n{STOP}", MARK),
    "behind one that goes on": two(MARK, MARK),
    "behind one with dates": two(f"activation_date = 2027-01-02T00:00:00Z\n{STOP}", MARK),
    "behind one with exceptions": two(f"sent_to = {ANA}\nexcept_if_from = {BEN}\n{STOP}", f"{MARK}sent_to = {ANA}"),
    "behind one with groups": two(f"either = [{{sent_to = {ANA}}}]\n{STOP}", f"{MARK}sent_to = {ANA}"),
    "behind one that looks elsewhere": two(
        f"from = {ANA}\n{STOP}", f"{MARK}from = {ANA}\nsender_address_location = 'envelope'"
    ),
    "behind one that is left out where it cannot be told": two(
        f"subject_or_body_contains_words = ['a']\n{STOP}",
        f"subject_or_body_contains_words = ['a']\nrule_error_action = 'defer'\n{DELETE}",
    ),
    "behind one that saw another subject": two(f"subject_contains_words = ['late']\n{STOP}", MARK).replace(
        rule(MARK + "\n", "B"),
        rule("prepend_subject = 'late '\n", "M") + rule(f"{MARK}subject_contains_words = ['late']\n", "B"),
    ),
    "an expression for a beginning": marks("subject_matches_patterns = ['^re:', '^$', '[a-z]+']"),
    "an expression for some addresses": marks("recipient_address_matches_patterns = ['@contoso', '^a']"),
    "within the operator's limit": OPERATOR + marks("message_size_over = '20MB'"),
    "within the connector's limit": CONNECTOR + rule(f"message_size_over = '10MB'\n{VIA}"),
    "redirects in a row": moves("A", ANA, BEN) + moves("B", BEN, CARL),
    "redirects with a copy that stays": moves("A", ANA, "['ben@contoso.com', 'x@far.test']") + moves("B", BEN, ANA),
    "an expression that asks whether a field is there": marks(
        "except_if_header_matches_patterns = {header = 'X-A', patterns = ['.']}"
    ),
    "a group that another one outside does not touch": marks(
        "from_scope = 'in_organization'", f"either = [{{sent_to = {ANA}}}, {{sent_to = {BEN}}}]"
    ),
    "an exception in a group that asks for more": marks(
        "subject_contains_words = ['x']", f"except_if_either = [{{subject_contains_words = ['x'], from = {ANA}}}]"
    ),
    "redirects of mail that is never the same": moves("A", ANA, BEN, f"from_scope = {IN}")
    + moves("B", BEN, ANA, f"except_if_from_scope = {IN}"),
    "redirects of which one is off": moves("A", ANA, BEN) + moves("B", BEN, ANA, "enabled = false"),
    "a copy": rule(f"sent_to = {ANA}\nblind_copy_to = {BEN}\n", "A") + moves("B", BEN, ANA),
    "properties that say nothing": marks("rule_sub_type = 'none'", "use_legacy_regex = false", "dlp_policy = ''"),
}  # fmt: skip


def findings(text, above=CONTOSO):
    """What is said of rules."""
    return [one for one in policy(text, above=above).warnings if one.path.startswith("mail_flow_rule")]


@pytest.mark.parametrize(("text", "key", "told"), FOUND.values(), ids=FOUND)
def test_found_and_told_whole(text, key, told):
    hits = [one for one in findings(text) if told in one.message]
    assert len(hits) == 1, findings(text)
    (hit,) = hits
    assert hit.file == "policy.toml"
    assert hit.why and hit.mend
    line = (CONTOSO + text).splitlines()[hit.line - 1]
    assert line.startswith(key) and hit.path.partition(".")[2].startswith(key), (line, hit.path)


@pytest.mark.parametrize("text", MISSED.values(), ids=MISSED)
def test_not_found(text):
    assert not findings(text)


def test_the_organisations_limits():
    def sizes(text):
        return [one.message for one in findings(text, SMALL)]

    (told,) = sizes(marks("message_size_over = '9MB'"))
    assert "the organisation allows 8388608 octets" in told
    assert not sizes(marks("message_size_over = '8MB'")), "it may be sent"
    assert not sizes(rule(f"message_size_over = '9MB'\n{DELETE}")), "what does not say its size comes so far"
    assert not findings(marks("message_size_over = '9MB'"), SMALL.replace('max_send_size = "8MB"\n', ""))


def test_another_organisations_rules_are_its_own():
    above = CONTOSO.replace("[[accepted", '[[organisation]]\nname = "fabrikam"\n[[accepted').replace(
        "domain_name", 'organisation = "contoso"\ndomain_name'
    )
    mine, theirs = (f'organisation = "{name}"\n' for name in ("contoso", "fabrikam"))
    assert not findings(two(mine + STOP, theirs + MARK), above)
    strangers = theirs + f"sent_to_scope = {OUT_}\nrecipient_domain_is = ['contoso.com']\n{MARK}"
    assert not findings(rule(strangers), above)


def test_every_rule_of_a_circle_is_told_and_one_beside_it_is_not():
    text = moves("A", ANA, BEN) + moves("B", BEN, ANA) + moves("C", CARL, ANA)
    assert sorted(one.message.split("'")[1] for one in findings(text)) == ["A", "B"]


def test_one_word_for_each_of_many_that_are_never_reached():
    many = "".join(rule(f"sent_to = {ANA}\n{MARK}", f"R{number}") for number in range(800))
    found = findings(rule(f"sent_to = {ANA}\n{STOP}", "A") + many)
    assert len([one for one in found if "is never reached" in one.message]) == 800


def test_a_circle_is_found_in_groups_and_among_the_same_mail():
    grouped = [rule(f"redirect_message_to = {to}\neither = [{{sent_to = {who}}}]\n", name)
               for name, who, to in (("A", ANA, BEN), ("B", BEN, ANA))]  # fmt: skip
    assert len([one for one in findings("".join(grouped)) if "in a circle" in one.message]) == 2
    narrower = moves("A", ANA, BEN) + moves("B", BEN, ANA, f"from_scope = {IN}")
    assert len([one for one in findings(narrower) if "in a circle" in one.message]) == 2, "mail from inside goes round"


def test_the_path_leads_into_the_group():
    inner = f"{{sent_to = {BEN}, except_if_sent_to = {BEN}}}"
    (found,) = findings(marks("either = [", f"  {{sent_to = {ANA}}},", f"  {{either = [{inner}]}},", "]"))
    assert found.path == "mail_flow_rule[0].either[1].either[0].sent_to"


def _samples():
    """Every policy with rules in the manual and the stories."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for number, sample in enumerate(re.findall(r"```toml\n(.*?)```", path.read_text("utf-8"), re.S)):
            if "[[mail_flow_rule]]" in sample and "recipient_local_part_is" not in sample:  # which is to be added first
                yield pytest.param(sample, id=f"{path.name}-{number}")
    for path in sorted((ROOT / "tests" / "stories" / "policy").glob("*.toml")):
        yield pytest.param(path.read_text("utf-8"), id=path.name)


@pytest.mark.parametrize("text", list(_samples()))
def test_the_manual_and_the_stories_give_no_cause(text):
    told = tomllib.loads(text)
    above = "" if "organisation" in told else '[[organisation]]\nname = "contoso"\n'
    if "contoso.com" not in {one["domain_name"] for one in told.get("accepted_domain", ())}:
        above += '[[accepted_domain]]\norganisation = "contoso"\ndomain_name = "contoso.com"\n'
        above += "vouched_by_operator = true\n"
    found = compile_policy({"a.toml": above + text}, hostname="mx.lockgate.test", revision=1).warnings
    assert not [one for one in found if one.path.startswith("mail_flow_rule")]
