"""Documents changed by program: what was meant changes, and every comment and every other line stays as it was."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.policy.editing import CannotEdit, Edit, Place, added, changed, filled, removed

TEXT = """\
# the whole company
[[organisation]]
name = "contoso"   # as in the contract

# reaches us by the bank's own line
[[inbound_connector]]
name = "Bank"
sender_domains = [
    "contosobank.com",   # main
    "*.contosobank.com",
]
require_tls = true

[operator]
ip_block_list = ["192.0.2.66"]
[operator.limits]
connections = 500

# to headquarters
[[outbound_connector]]
name = 'HQ'
recipient_domains = ["contoso.com"]  # all of it
comment = '''
[[outbound_connector]]
not a header
'''

[[mail_flow_rule]]
name = "City"
[mail_flow_rule.nested]
x = 1

# to the site
[[outbound_connector]]
name = "NOLA"
"""
FILES = {"a.toml": TEXT, "b.toml": "# nothing yet\n"}


def data(files: dict[str, str]) -> dict[str, object]:
    return tomllib.loads(files["a.toml"])


def lines_that_differ(before: str, after: str) -> set[str]:
    return set(before.splitlines()) ^ set(after.splitlines())


def test_one_property_changes_and_nothing_else_moves() -> None:
    after = changed(FILES, Place("a.toml", "outbound_connector", 1), Edit({"enabled": False}))
    assert after["a.toml"] == TEXT + "enabled = false\n"
    after = changed(FILES, Place("a.toml", "outbound_connector", 0), Edit({"name": "Main"}, ("comment",)))
    assert 'name = \'HQ\'' not in after["a.toml"] and "# all of it" in after["a.toml"]
    assert data(after)["outbound_connector"][0] == {"name": "Main", "recipient_domains": ["contoso.com"]}
    after = changed(FILES, Place("a.toml", "inbound_connector", 0), Edit({"require_tls": False}))
    assert lines_that_differ(TEXT, after["a.toml"]) == {"require_tls = true", "require_tls = false"}
    assert after["b.toml"] is FILES["b.toml"]


def test_a_new_property_stands_with_its_object() -> None:
    after = changed(FILES, Place("a.toml", "inbound_connector", 0), Edit({"comment": "by contract"}))
    assert 'require_tls = true\ncomment = "by contract"\n\n[operator]' in after["a.toml"]
    after = changed(FILES, Place("a.toml", "mail_flow_rule", 0), Edit({"enabled": False}))
    assert data(after)["mail_flow_rule"] == [{"name": "City", "enabled": False, "nested": {"x": 1}}]
    assert "# to the site\n[[outbound_connector]]" in after["a.toml"]


def test_the_operators_table() -> None:
    after = changed(FILES, Place("a.toml", "operator", 0), Edit({"ip_block_list": ["192.0.2.66", "192.0.2.67"]}))
    assert data(after)["operator"] == {"ip_block_list": ["192.0.2.66", "192.0.2.67"], "limits": {"connections": 500}}
    after = added(FILES, "b.toml", "operator", {"ip_allow_list": ["192.0.2.1"]})
    assert after["b.toml"] == '# nothing yet\n\n[operator]\nip_allow_list = ["192.0.2.1"]\n'


LISTED = """[[mail_flow_rule]]
name = "R"
subject_contains_words = [  # agreed with sales
    "a",   # the first
    # the second
    "b",
    "c",
]
stop_rule_processing = true
"""


@pytest.mark.parametrize(
    ("words", "gone", "fresh"),
    [
        (["a", "b", "c", "d"], (), ('"d"',)),
        (["a", "c"], ('"b"',), ()),
        (["b", "c", "x y"], ('"a"',), ('"x y"',)),
        (["a", "b"], ('"c"',), ()),
        (["a"], ('"b"', '"c"'), ()),
    ],
)
def test_entries_of_a_list_come_and_go_alone(words: list[str], gone: tuple[str, ...], fresh: tuple[str, ...]) -> None:
    place = Place("a.toml", "mail_flow_rule", 0)
    after = changed({"a.toml": LISTED}, place, Edit({"subject_contains_words": words}))["a.toml"]
    assert tomllib.loads(after)["mail_flow_rule"][0]["subject_contains_words"] == words
    kept = [line for line in LISTED.splitlines() if not any(one in line for one in gone)]
    there = after.splitlines()
    assert [line for line in kept if line in there or line.rstrip(",") in there] == kept
    assert all(any(one in line for line in there) for one in fresh)


def test_a_list_in_another_order_is_written_anew() -> None:
    place = Place("a.toml", "mail_flow_rule", 0)
    for words in (["c", "b", "a"], ["x"], ["a", "a"], []):
        after = changed({"a.toml": LISTED}, place, Edit({"subject_contains_words": words}))["a.toml"]
        assert tomllib.loads(after)["mail_flow_rule"][0]["subject_contains_words"] == words


def test_an_object_goes_with_its_comment() -> None:
    after = removed(FILES, [Place("a.toml", "outbound_connector", 0)])
    assert "headquarters" not in after["a.toml"] and "not a header" not in after["a.toml"]
    assert "# to the site" in after["a.toml"] and "connections = 500\n\n[[mail_flow_rule]]" in after["a.toml"]
    after = removed(FILES, [Place("a.toml", "inbound_connector", 0)])
    assert "own line" not in after["a.toml"] and "inbound_connector" not in data(after)
    after = removed(FILES, [Place("a.toml", "outbound_connector", 1)])
    assert after["a.toml"].endswith("x = 1\n") and not after["a.toml"].endswith("\n\n")
    places = [Place("a.toml", "outbound_connector", 0), Place("a.toml", "outbound_connector", 1)]
    assert set(data(removed(FILES, places))) == {"organisation", "inbound_connector", "operator", "mail_flow_rule"}


def test_an_object_is_added_at_the_end() -> None:
    after = added(FILES, "a.toml", "remote_domain", {"domain_name": "far.test", "ndr_enabled": False})
    assert after["a.toml"] == TEXT + '\n[[remote_domain]]\ndomain_name = "far.test"\nndr_enabled = false\n'
    after = added({}, "policy.toml", "organisation", {"name": 'a "b" \\ c'})
    assert tomllib.loads(after["policy.toml"]) == {"organisation": [{"name": 'a "b" \\ c'}]}
    long = [f"{n}.very-long-domain-name.test" for n in range(9)]
    after = added({}, "p.toml", "inbound_connector", {"name": "x", "sender_domains": long})
    assert after["p.toml"].count("\n") > 9 and tomllib.loads(after["p.toml"])["inbound_connector"][0][
        "sender_domains"
    ] == long


def test_what_is_written_in_line_is_changed_too() -> None:
    text = 'organisation = [{name = "a"}, {name = "b"}]  # both\n'
    after = changed({"a.toml": text}, Place("a.toml", "organisation", 1), Edit({"comment": "x"}))
    assert data(after) == {"organisation": [{"name": "a"}, {"name": "b", "comment": "x"}]}
    assert "# both" in after["a.toml"]
    with pytest.raises(CannotEdit, match=r"\[\[organisation\]\]"):
        added({"a.toml": text}, "a.toml", "organisation", {"name": "c"})
    assert data(removed({"a.toml": text}, [Place("a.toml", "organisation", 0)])) == {"organisation": [{"name": "b"}]}


def test_a_second_organisation_makes_the_first_one_named() -> None:
    tables = ("inbound_connector", "outbound_connector", "mail_flow_rule")
    after = filled(FILES, tables, "organisation", "contoso")
    for table in tables:
        assert all(row["organisation"] == "contoso" for row in data(after)[table])
    assert "not a header" in after["a.toml"] and lines_that_differ(TEXT, after["a.toml"]) == {
        'organisation = "contoso"'
    }
    assert after["b.toml"] == FILES["b.toml"]


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["x", "y"]), NAMES), min_size=1, max_size=6), st.data(), NAMES)
def test_whatever_stands_there_only_what_was_meant_changes(
    rows: list[tuple[str, str]], draw: st.DataObject, value: str
) -> None:
    files: dict[str, str] = {"a.toml": "# top\n"}
    for table, name in rows:
        files = added(files, "a.toml", table, {"name": name, "list": [name, "b"]})
    table, _ = draw.draw(st.sampled_from(rows))
    number = draw.draw(st.integers(0, sum(1 for one, _ in rows if one == table) - 1))
    want = data(files)
    after = changed(files, Place("a.toml", table, number), Edit({"name": value}, ("list",)))
    want[table][number] = {"name": value}
    assert data(after) == want and after["a.toml"].startswith("# top\n")
    del want[table][number]
    assert {k: v for k, v in want.items() if v} == data(removed(after, [Place("a.toml", table, number)]))
