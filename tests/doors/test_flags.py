"""Flags of objects' properties: made of the classes, one for each, and they say what property=value says."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.main import get_command

from doors.desk_here import desk_here
from lockgate.cli.commands import everything, meant
from lockgate.cli.flags import flagged, flags_of
from lockgate.cli.objects import assignments
from lockgate.flow.desk.objects import assigned
from lockgate.policy.catalog import EXCEPTION, standard
from lockgate.policy.documents import model_of, name_key
from lockgate.policy.reference import as_toml

TABLES = {
    "rule": ("mail_flow_rule",),
    "organisation": ("organisation",),
    "remote-domain": ("remote_domain",),
    "anti-phishing": ("anti_phishing_policy",),
    "arc": ("arc_config",),
    "domain": ("accepted_domain",),
    "connector": ("inbound_connector", "outbound_connector"),
}
KINDS = [*standard().conditions.values(), *standard().actions.values()]


def options_of(*words: str) -> dict[str, Any]:
    """The options of a command by their first spelling."""
    found: Any = get_command(meant([*words]))
    for word in words:
        found = found.commands[word]
    return {option: one for one in found.params if one.param_type_name == "option" for option in one.opts[:1]}


@pytest.mark.parametrize("noun", sorted(TABLES))
@pytest.mark.parametrize("verb", ["add", "set"])
def test_every_property_has_a_flag_with_help(noun: str, verb: str) -> None:
    options = options_of(noun, verb)
    for table in TABLES[noun]:
        for key, info in model_of(table, standard()).model_fields.items():
            if key in {name_key(table), "organisation"}:
                continue
            option = options["--" + key.replace("_", "-")]
            assert info.description and info.description.rstrip(".") in option.help, key
            assert option.hidden == key.startswith(EXCEPTION)


@pytest.mark.parametrize("noun", sorted(TABLES))
def test_no_two_options_are_called_alike(noun: str) -> None:
    root: Any = get_command(everything())
    for verb in ("add", "set"):
        params = root.commands[noun].commands[verb].params
        words = [word for one in params for word in (*one.opts, *one.secondary_opts)]
        assert len(words) == len(set(words)) and len({one.name for one in params}) == len(params)


@pytest.mark.parametrize("prefix", ["", EXCEPTION])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_example_of_every_condition_and_action_can_be_given_by_its_flag(kind, prefix: str) -> None:
    key = prefix + kind.name
    if key not in standard().rule.model_fields:
        assert prefix, "only actions have no exception"
        return
    (flag,) = [one for one in flags_of("mail_flow_rule") if one.key == key]
    words = [f"--{key.replace('_', '-')}"]
    if flag.switch:
        words = words if kind.example else [words[0].replace("--", "--no-", 1)]
    elif flag.listed:
        words = [part for entry in kind.example for part in (*words, text_of(entry))]
    else:
        words.append(text_of(kind.example))
    values = assigned("mail_flow_rule", {}, assignments(given_by(words)))
    rule = standard().rule.model_validate({"name": "x", "organisation": "contoso", **values})
    other = standard().rule.model_validate({"name": "x", "organisation": "contoso", key: kind.example})
    assert rule == other


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else as_toml(value)


def given_by(words: list[str]) -> list[str]:
    """What the command is told when these words stand at the terminal."""
    seen: list[str] = []

    def command(name: str, properties: list[str] | None = None) -> None:
        seen.extend(properties or ())

    alone = typer.Typer(add_completion=False)
    alone.command()(flagged("mail_flow_rule")(command))
    alone(["x", *words], standalone_mode=False)
    return seen


async def test_a_rule_is_written_by_flags_and_by_both(tmp_path) -> None:
    async with desk_here(tmp_path) as here:
        code, out, err = await here.run(
            "rule", "add", "Bills", "--subject-contains-words", "invoice", "--subject-contains-words", "Rechnung = 7",
            "--except-if-from-scope", "in_organization", "--set-header", '{name = "X-Bill", value = "a = b"}',
            "--either", '{from = ["ana@contoso.test"]}', "--either", "{message_size_over = 1024}",
            "--stop-rule-processing", "mode=audit", "--json",
        )  # fmt: skip
        assert code == 0, err
        rule = json.loads(out)["object"]
        assert rule["subject_contains_words"] == ["invoice", "Rechnung = 7"]
        assert rule["except_if_from_scope"] == "in_organization" and rule["mode"] == "audit"
        assert rule["set_header"] == {"name": "X-Bill", "value": "a = b"} and rule["stop_rule_processing"] is True
        assert [sorted(one) for one in rule["either"]] == [["from"], ["message_size_over"]]
        code, out, err = await here.run(
            "rule", "set", "Bills", "--no-stop-rule-processing", "--set-scl", "-1", "subject_contains_words-=invoice",
            "--unset", "either", "--json",
        )  # fmt: skip
        assert code == 0, err
        rule = json.loads(out)["object"]
        assert rule["stop_rule_processing"] is False and rule["set_scl"] == -1 and not rule["either"]
        assert rule["subject_contains_words"] == ["Rechnung = 7"]


async def test_what_the_rule_will_do_is_said_as_documents_say_it(tmp_path) -> None:
    async with desk_here(tmp_path) as here:
        header = ("--set-header", '{name = "X-A", value = "b"}')
        code, out, err = await here.run("rule", "add", "X", *header, "--quarantine")
        assert code == 0, err
        assert '=> for every message: quarantine true, set_header {name = "X-A", value = "b"}' in out
        code, out, err = await here.run("rule", "set", "X", "--mode", "audit")
        assert code == 0 and "=> on audit, nothing is done but reports are sent, for every message: " in out, err


async def test_words_in_brackets_are_words_and_lists_are_lists(tmp_path) -> None:
    async with desk_here(tmp_path) as here:
        code, out, err = await here.run("rule", "add", "X", "--subject-contains-words", "[External]", "--json")
        assert code == 0, err
        assert json.loads(out)["object"]["subject_contains_words"] == ["[External]"]
        code, out, err = await here.run("rule", "set", "X", "--subject-contains-words", '["a", "b"]', "--json")
        assert code == 0, err
        assert json.loads(out)["object"]["subject_contains_words"] == ["a", "b"]


async def test_what_is_wrong_is_told_with_its_place_and_nothing_is_changed(tmp_path) -> None:
    async with desk_here(tmp_path) as here:
        before = here.revisions.in_force().number
        code, _, err = await here.run("rule", "add", "X", "--subject-matches-patterns", "(", "--delete-message")
        assert code == 1 and "subject_matches_patterns" in err
        code, _, err = await here.run("rule", "add", "X", "--set-header", "X-Bill: 7")
        assert code == 1 and "set_header" in err
        code, _, err = await here.run("rule", "add", "X", "--subject-contain-words", "a")
        assert code == 2 and "--subject-contain-words" in err and "--subject-contains-words" in err
        assert here.revisions.in_force().number == before


async def test_a_connector_has_the_flags_of_its_direction(tmp_path) -> None:
    async with desk_here(tmp_path) as here:
        words = ("--connector-type", "on_premises", "--recipient-domains", "*", "--no-use-mx-record")
        hosts = ("--smart-hosts", "192.0.2.5", "--smart-hosts", "192.0.2.6:2525")
        code, out, err = await here.run("connector", "add", "Out", "--outbound", *words, *hosts, "--json")
        assert code == 0, err
        assert json.loads(out)["object"]["smart_hosts"] == ["192.0.2.5", "192.0.2.6:2525"]
        code, _, err = await here.run("connector", "add", "In", "--inbound", *words)
        assert code == 1 and "there is no 'recipient_domains' here" in err


def test_only_who_writes_an_object_loads_what_objects_are_made_of() -> None:
    loads = (
        "import sys; from typer.main import get_command; from lockgate.cli.commands import meant;"
        "get_command(meant(['rule', {!r}])); print('lockgate.policy.catalog' in sys.modules)"
    )
    for verb, loaded in (("list", False), ("add", True)):
        done = subprocess.run([sys.executable, "-c", loads.format(verb)], capture_output=True, check=True, text=True)
        assert done.stdout.strip() == str(loaded), verb
