"""The manual of policy documents says what the program does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from lockgate.policy.catalog import standard
from lockgate.policy.documents import TABLES, model_of
from lockgate.policy.problems import is_document_name
from lockgate.policy.reference import LATER, PAGES, page, rules_page
from lockgate.policy.values import Kind, kind_of, value_of, without

ROOT = Path(__file__).resolve().parents[2]
ACTING = ("decision", "flow", "couriers", "edge", "app")
NOT_ACTING = {"meaning.py", "objects.py", "origins.py"}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_the_one_that_is_printed(name: str) -> None:
    kept = (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    assert kept == PAGES[name](), f"run `lockgate reference {name} > docs/{name}.md`"


def test_every_condition_and_action_is_explained_with_an_example_that_can_be_written() -> None:
    text = rules_page()
    sections = re.findall(r"^### (\S+)\n(.*?)^```toml\n(.*?)\n```", text, re.S | re.M)
    kinds = {**standard().conditions, **standard().actions}
    assert [name for name, *_ in sections] == list(kinds)
    for name, words, example in sections:
        kind = kinds[name]
        assert kind.summary in words and ("for one recipient" in words) == kind.per_recipient
        assert kind.model.model_validate(tomllib.loads(example)[name]) == kind.model.model_validate(kind.example)


def test_every_table_and_property_is_on_it() -> None:
    text = page()
    for table in (*TABLES, "operator"):
        for key in model_of(table, standard()).model_fields:
            assert f"`{key.removeprefix('except_if_')}`" in text, f"{table}.{key}"
        assert f"[{table}]" in text


def test_what_is_said_not_to_act_yet_does_not() -> None:
    acting = "\n".join(
        path.read_text("utf-8")
        for room in ACTING
        for path in (ROOT / "src" / "lockgate" / room).rglob("*.py")
        if path.name not in NOT_ACTING
    )
    for table, keys in LATER.items():
        assert keys <= set(model_of(table, standard()).model_fields)
        for key in sorted(keys):
            found = re.search(rf"\.{key}\b", acting)
            assert found is None, f"{table}.{key} is used now: take it out of LATER in policy/reference.py"


@pytest.mark.parametrize(
    ("table", "key", "texts", "value"),
    [
        ("outbound_connector", "smart_hosts", ["a", "b"], ["a", "b"]),
        ("outbound_connector", "smart_hosts", ['["a", "b"]'], ["a", "b"]),
        ("outbound_connector", "smart_hosts", [""], []),
        ("outbound_connector", "cost", ["3"], 3),
        ("outbound_connector", "cost", ["three"], "three"),
        ("outbound_connector", "size_limit", ["25MB"], "25MB"),
        ("outbound_connector", "enabled", ["no"], False),
        ("outbound_connector", "tls_domain", ["3"], "3"),
        ("outbound_connector", "unknown", ["1"], "1"),
        ("organisation", "message_expiration", ["24h"], "24h"),
        ("operator", "limits", ["{connections = 5}"], {"connections": 5}),
        ("mail_flow_rule", "recipient_domain_is", ["a.test", "b.test"], ["a.test", "b.test"]),
        ("mail_flow_rule", "route_message_outbound_connector", ["HQ"], "HQ"),
        ("remote_domain", "tnef_enabled", ["false"], False),
    ],
)
def test_values_have_the_kind_that_the_model_says(table: str, key: str, texts: list[str], value: object) -> None:
    found = value_of(kind_of(model_of(table, standard()), key), texts)
    assert found == value and type(found) is type(value)


def test_a_moment_is_a_moment() -> None:
    kind = kind_of(model_of("accepted_domain", standard()), "proven_at")
    assert kind is Kind.MOMENT
    assert value_of(kind, ["2026-03-01T10:00:00Z"]).year == 2026 and value_of(kind, ["soon"]) == "soon"


def test_entries_go_by_what_they_mean() -> None:
    assert without(["192.0.2.1", "192.0.2.0/24"], "192.0.2.1/32") == ["192.0.2.0/24"]
    assert without(["A.test", "b.test"], "a.TEST") == ["b.test"]


@pytest.mark.parametrize(
    ("name", "sound"),
    [
        ("a.toml", True), ("x/y.toml", True), ("../a.toml", False), ("/a.toml", False), ("a.txt", False),
        ("a//b.toml", False), (".", False), ("a/./b.toml", False), ("a\n.toml", False),
    ],
)
def test_names_of_documents(name: str, sound: bool) -> None:
    assert is_document_name(name) is sound
