"""Mail flow rules at the terminal: switched, moved, put between others; what people wrote around them stays."""

from __future__ import annotations

import asyncio
import json
import tomllib

import pytest

from doors.desk_here import desk_here
from policies import CONTOSO

RULES = """
# The first one: agreed with the board.
[[mail_flow_rule]]
name = "A"
subject_contains_words = ["a"]   # only this
delete_message = true

[[mail_flow_rule]]
name = "B"
set_header = {name = "X-B", value = "b"}
priority = 7

# C is for Christmas.
[[mail_flow_rule]]
name = "C"
set_header = {name = "X-C", value = "c"}
mode = "audit"
activation_date = 2026-12-24T00:00:00Z
expiry_date = 2026-12-27T00:00:00Z

[[mail_flow_rule]]
name = "D"
set_header = {name = "X-D", value = "d"}
priority = 3
"""


@pytest.fixture
async def here(tmp_path):
    async with desk_here(tmp_path) as found:
        folder = tmp_path / "documents"
        folder.mkdir()
        (folder / "contoso.toml").write_text(CONTOSO)
        (folder / "rules.toml").write_text(RULES)
        code, _, err = await found.run("apply", str(folder))
        assert code == 0, err
        yield found


async def told(here, *command):
    code, out, err = await here.run(*command, "--json")
    assert code == 0, err
    return json.loads(out)


def text_of(here):
    return here.revisions.in_force().files["rules.toml"]


def written(here):
    return {rule["name"]: rule.get("priority") for rule in tomllib.loads(text_of(here))["mail_flow_rule"]}


def did(here):
    return [row["did"] for row in here.audit.rows]


async def test_the_list_tells_the_priority_that_a_rule_has(here):
    rows = await told(here, "rule", "list")
    assert [(row["name"], row["effective_priority"], row["priority"]) for row in rows] == [
        ("D", 3, 3), ("B", 7, 7), ("A", 8, None), ("C", 9, None),
    ]  # fmt: skip
    assert (await told(here, "rule", "show", "A"))["effective_priority"] == 8
    code, out, _ = await here.run("rule", "list")
    header, *lines = [line for line in out.splitlines() if line.strip()]
    assert code == 0 and header.split() == [
        "PRIORITY", "ORGANISATION", "NAME", "STATE", "MODE", "HITS", "LAST", "HIT", "FROM", "UNTIL", "COMMENTS",
    ]  # fmt: skip
    (line,) = [one for one in lines if " C " in one]
    assert line.split()[:5] == ["9", "contoso", "C", "enabled", "audit"] and "2026-12-24" in line and "12-27" in line


async def test_a_rule_is_switched_off_and_on_in_a_revision_each(here):
    before = here.revisions.in_force().number
    tried = await told(here, "rule", "disable", "A", "--what-if")
    assert tried["what_if"] and here.revisions.in_force().number == before
    assert "mail_flow_rule set A" not in did(here)
    code, out, _ = await here.run("rule", "disable", "A", "--reason", "too much")
    assert code == 0 and "enabled: yes -> no" in out
    assert did(here).count("mail_flow_rule set A") == 1
    assert here.revisions.in_force().number == before + 1
    assert (await told(here, "rule", "list"))[2]["enabled"] is False
    assert "# The first one: agreed with the board." in text_of(here) and "# only this" in text_of(here)
    assert (await told(here, "rule", "enable", "A"))["object"]["enabled"] is True
    assert here.revisions.in_force().number == before + 2
    code, _, err = await here.run("rule", "enable", "AA")
    assert code == 1 and "no mail flow rule 'AA'" in err


async def test_a_moved_rule_shifts_the_later_ones_in_one_revision(here):
    before = here.revisions.in_force().number
    assert (await told(here, "rule", "move", "C", "--to", "0", "--what-if"))["what_if"]
    assert written(here) == {"A": None, "B": 7, "C": None, "D": 3}
    result = await told(here, "rule", "move", "C", "--to", "0")
    assert result["revision"] == before + 1 and result["object"]["priority"] == 0
    assert written(here) == {"C": 0, "D": 1, "B": 2, "A": 3}
    assert "# C is for Christmas." in text_of(here) and "# only this" in text_of(here)
    await told(here, "rule", "move", "C", "--to", "2")
    assert written(here) == {"D": 0, "B": 1, "C": 2, "A": 3}
    await told(here, "rule", "move", "D", "--to", "99")
    assert written(here) == {"B": 0, "C": 1, "A": 2, "D": 3}, "behind the last one is last"
    code, _, err = await here.run("rule", "move", "D", "--to", "-1")
    assert code == 2 and err
    code, _, err = await here.run("rule", "move", "D", "--to", "0", "--expect", str(before))
    assert code == 1 and written(here)["D"] == 3, err


async def test_t_rule_11_a_rule_put_at_2_shifts_those_behind(here):
    before = here.revisions.in_force().number
    assert [row["name"] for row in await told(here, "rule", "list")] == ["D", "B", "A", "C"]
    await told(here, "rule", "add", "New", 'set_header={name = "X-N", value = "n"}', "priority=2")
    rows = await told(here, "rule", "list")
    assert [(row["name"], row["priority"]) for row in rows] == [
        ("D", 0), ("B", 1), ("New", 2), ("A", 3), ("C", 4),
    ]  # fmt: skip
    assert [row["effective_priority"] for row in rows] == [0, 1, 2, 3, 4]
    assert here.revisions.in_force().number == before + 1, "all of it in one revision"
    assert "mail_flow_rule add New" in did(here), "and in the audit"
    assert "# only this" in text_of(here) and "# C is for Christmas." in text_of(here)
    await told(here, "rule", "set", "New", "priority=0")
    assert written(here) == {"New": 0, "D": 1, "B": 2, "A": 3, "C": 4}
    await told(here, "rule", "add", "Last", 'set_header={name = "X-L", value = "l"}')
    assert (await told(here, "rule", "list"))[-1]["effective_priority"] == 5


async def test_groups_of_conditions_are_written_as_toml(here):
    value = "[{subject_contains_words = ['bill']}, {sent_to = ['boss@contoso.com'], except_if_from = ['x@b.test']}]"
    code, _, err = await here.run("rule", "set", "A", f"either={value}", "except_if_either=[{with_importance = 'low'}]")
    assert code == 0, err
    (rule,) = [one for one in tomllib.loads(text_of(here))["mail_flow_rule"] if one["name"] == "A"]
    assert rule["either"] == tomllib.loads(f"v = {value}")["v"] and "# only this" in text_of(here)
    shown = await told(here, "rule", "show", "A")
    assert shown["except_if_either"] == [{"with_importance": "low"}]
    code, out, err = await here.run("rule", "set", "A", "either=[{sent_too = ['a@b.test']}]")
    assert code == 1 and "either[0].sent_too" in out + err and "did you mean 'sent_to'" in out + err
    code, _, err = await here.run("rule", "add", "E", f"either={value}", "quarantine=true")
    assert code == 0, err
    assert (await told(here, "rule", "show", "E"))["either"][0] == {"subject_contains_words": ["bill"]}


@pytest.mark.parametrize("name", ["Sales / Marketing #1", "Hold", "mx:all", "a=b, [c]"])
async def test_a_rule_may_be_called_what_no_connector_may(here, name):
    """No queue is called after a rule, and people have such names for theirs in Exchange."""
    assert (await told(here, "rule", "add", name, "subject_contains_words=x", "priority=0"))["object"]["name"] == name
    assert (await told(here, "rule", "list"))[0]["name"] == name
    await told(here, "rule", "move", name, "--to", "1")
    await told(here, "rule", "disable", name)
    shown = await told(here, "rule", "show", name)
    assert shown["effective_priority"] == 1 and shown["enabled"] is False
    await told(here, "rule", "remove", name)
    code, _, err = await here.run("connector", "add", name, "--outbound", "use_mx_record=yes")
    assert (code == 1 and "a name must not hold / or #" in err) is (name != "a=b, [c]")


async def test_groups_come_and_go_one_by_one_and_are_seen_apart(here):
    first, second = "{subject_contains_words = ['bill'], sent_to = ['x@b.test']}", "{from = ['a@b.test']}"
    await told(here, "rule", "set", "A", f"either={first}")
    await told(here, "rule", "set", "A", f"either+={second}")
    shown = (await here.run("rule", "show", "A"))[1]
    assert "{sent_to=x@b.test, subject_contains_words=bill}, {from=a@b.test}" in shown.replace(
        "{subject_contains_words=bill, sent_to=x@b.test}", "{sent_to=x@b.test, subject_contains_words=bill}"
    )
    await told(here, "rule", "set", "A", f"either-={first}")
    assert (await told(here, "rule", "show", "A"))["either"] == [{"from": ["a@b.test"]}]
    code, _, err = await here.run("rule", "set", "A", f"either-={first}")
    assert code == 1 and "does not hold {subject" in err


async def test_rules_that_are_changed_at_the_same_moment_are_all_changed(here):
    before = here.revisions.in_force().number
    names = [f"N{number}" for number in range(4)]
    answers = await asyncio.gather(*(here.run("rule", "add", name, "delete_message=true") for name in names))
    assert [code for code, _, _ in answers] == [0] * 4, answers
    assert {row["name"] for row in await told(here, "rule", "list")} >= set(names)
    assert here.revisions.in_force().number == before + 4
