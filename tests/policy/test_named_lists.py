"""Lists that rules name have to be declared and to fit; what is on them is no part of the policy."""

from __future__ import annotations

import pytest

from lockgate.flow.meaning import Both, meaning
from lockgate.policy.compile import understand
from lockgate.policy.differences import differences
from policies import CONTOSO, policy, problems

LISTS = """
[[named_list]]
name = "partners"
kind = "domains"
[[named_list]]
name = "project names"
kind = "words"
"""


def rule(condition: str) -> str:
    return f'[[mail_flow_rule]]\nname = "R"\n{condition}\ndelete_message = true\n'


@pytest.mark.parametrize(
    ("condition", "path", "message"),
    [
        ('sender_in_list = ["partner"]', "sender_in_list[0]", "there is no list 'partner'; did you mean 'partners'?"),
        ('except_if_recipient_in_list = ["partners", "v"]', "except_if_recipient_in_list[1]", "there is no list 'v'"),
        ('sender_in_list = ["project names"]', "sender_in_list[0]", "is one of words; domains or addresses are needed"),
        ('subject_contains_list = ["partners"]', "subject_contains_list[0]", "is one of domains; words are needed"),
        ('subject_or_body_contains_list = ["partners"]', "subject_or_body_contains_list[0]", "words are needed"),
        ("sender_in_list = []", "sender_in_list", "at least 1"),
    ],
)  # fmt: skip
def test_a_rule_names_lists_that_are_there_and_fit(condition: str, path: str, message: str) -> None:
    (found,) = problems(LISTS + rule(condition))
    assert found.path == f"mail_flow_rule[0].{path}" and message in found.message and found.line == 15


def test_a_list_of_another_organisation_is_not_there() -> None:
    text = '[[organisation]]\nname = "fabrikam"\n[[named_list]]\norganisation = "fabrikam"\nname = "vip"\n'
    text += 'kind = "addresses"\n' + rule('organisation = "contoso"\nsender_in_list = ["vip"]')
    both = CONTOSO.replace("domain_name", 'organisation = "contoso"\ndomain_name')
    assert ["there is no list 'vip'" in one.message for one in problems(text, above=both)] == [True]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[[named_list]]\nname = "a"\n', "kind"), ('[[named_list]]\nname = "a"\nkind = "numbers"\n', "kind"),
        ('[[named_list]]\nname = "a"\nkind = "words"\nentries = ["x"]\n', "entries"),
        ('[[named_list]]\nname = "PARTNERS"\nkind = "words"\n', "name"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_told_once_and_not_again_by_the_rules(text: str, path: str) -> None:
    found = problems(LISTS + text + rule('subject_contains_list = ["a"]' if '"a"' in text else ""))
    assert [one.path.rpartition(".")[2] for one in found] == [path], found


def test_one_list_may_be_named_twice_and_by_several_rules() -> None:
    both = rule('sender_in_list = ["partners", "partners"]')
    both += rule('recipient_in_list = ["partners"]').replace("R", "S")
    assert len(policy(LISTS + both).of("contoso").rules.all) == 2


def test_the_digest_knows_which_lists_there_are() -> None:
    one, other = policy(LISTS), policy(LISTS.replace('"domains"', '"addresses"'))
    assert one.digest != other.digest != policy().digest


def test_a_plan_says_what_becomes_of_a_list() -> None:
    def sides(old: str, new: str) -> list[str]:
        before, after = (understand({"a": CONTOSO + text}, hostname="mx.test", revision=1) for text in (old, new))
        both = Both(before.policy, after.policy)
        found = differences(before.documents, after.documents)
        return [line for one in found for line in meaning(one, both)]

    declared = '[[named_list]]\nname = "a"\nkind = "words"\n'
    assert sides("", declared) == ["rules can look into a list of words; what is on it is no part of the policy"]
    assert "its entries are kept" in sides(declared, "")[0]
    assert "a list of domains now" in sides(declared, declared.replace("words", "domains"))[0]
