"""Only the command that is named is loaded and made ready; nobody sees a difference but in time."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.main import get_command

from lockgate.cli.commands import everything, meant

ALL: Any = get_command(everything())


@pytest.mark.parametrize("name", sorted(ALL.commands))
def test_a_command_alone_is_what_it_is_among_all(name: str) -> None:
    alone: Any = get_command(meant([name, "--json"]))
    assert [*alone.commands] == [name]
    assert _told(alone) == _told(ALL), "options before the command, and the help"
    one, other = (which.commands[name] for which in (alone, ALL))
    assert _told(one) == _told(other)
    assert sorted(getattr(one, "commands", ())) == sorted(getattr(other, "commands", ()))


def _told(command: Any) -> tuple[object, ...]:
    return command.help, [(one.name, one.opts, one.help) for one in command.params if hasattr(one, "help")]


def test_within_a_group_only_the_command_behind_it_is_made_ready() -> None:
    whole = sorted(ALL.commands["rule"].commands)
    for words, wanted in (
        (["rule", "list", "add"], ["list"]), (["--config", "rule", "rule", "add"], ["add"]), (["rule"], whole),
        (["rule", "--help", "list"], whole), (["rule", "nonsense"], whole),
        (["group", "member", "add"], sorted(ALL.commands["group"].commands)),
    ):  # fmt: skip
        only: Any = get_command(meant(words))
        (name,) = only.commands
        assert sorted(only.commands[name].commands) == wanted, words


def test_values_of_options_are_no_commands() -> None:
    valued = [one.opts[0] for one in ALL.params if not one.is_flag]
    assert len(valued) > 1
    for option in valued:
        only: Any = get_command(meant([option, "rule", "--version", "serve"]))
        assert [*only.commands] == ["serve"], option


@pytest.mark.parametrize("words", [[], ["--help"], ["nonsense"], ["--config"], ["--config", "rule"], ["-", "rule "]])
def test_otherwise_all_are_there(words: list[str]) -> None:
    assert _names(meant(words)) == sorted(ALL.commands)


def test_completion_knows_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_LOCKGATE_COMPLETE", "complete_bash")
    assert _names(meant(["rule"])) == sorted(ALL.commands)


def test_only_what_is_wanted_is_loaded() -> None:
    """A command that asks the service need not know what documents are made of, which is most of the loading."""
    loads = "import sys; from lockgate.cli.commands import meant; meant(['queue']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", loads], capture_output=True, check=True, text=True)
    assert not {"lockgate.policy.documents", "lockgate.policy.catalog", "lockgate.cli.rules"} & {*done.stdout.split()}


def _names(one: typer.Typer) -> list[str]:
    every: Any = get_command(one)
    return sorted(every.commands)
