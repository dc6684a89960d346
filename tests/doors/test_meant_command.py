"""Only the command that is named is made ready; nobody sees a difference but in time."""

from __future__ import annotations

from typing import Any

import pytest
from typer.main import get_command

from lockgate.cli.commands import commands, meant

ALL = get_command(commands)


def names() -> list[str]:
    return sorted(ALL.commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", names())
def test_a_command_alone_is_what_it_is_among_all(name: str) -> None:
    alone = get_command(meant([name, "--json"]))
    assert [*alone.commands] == [name]  # type: ignore[attr-defined]
    assert _told(alone) == _told(ALL), "options before the command, and the help"
    one, other = (which.commands[name] for which in (alone, ALL))  # type: ignore[attr-defined]
    assert _told(one) == _told(other)
    assert sorted(getattr(one, "commands", ())) == sorted(getattr(other, "commands", ()))


def _told(command: Any) -> tuple[object, ...]:
    return command.help, [(one.name, one.opts, one.help) for one in command.params if hasattr(one, "help")]


def test_values_of_options_are_no_commands() -> None:
    for words in (["--config", "rule", "serve"], ["--control", "rule", "--config", "trace", "serve"], ["--x", "serve"]):
        assert [*get_command(meant(words)).commands] == ["serve"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("words", [[], ["--help"], ["nonsense"], ["--config"], ["--config", "rule"], ["-", "rule "]])
def test_otherwise_all_are_there(words: list[str]) -> None:
    assert meant(words) is commands


def test_completion_knows_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_LOCKGATE_COMPLETE", "complete_bash")
    assert meant(["rule"]) is commands
