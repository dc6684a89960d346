"""docs/connectors.md: the commands it shows are run, and the keys and words it explains are those that there are."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from doors.terminal import run
from lockgate.cli.connector_validate import _WORDS
from lockgate.mail.validation import StepName, StepOutcome

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "connectors.md").read_text("utf-8")
COURIERS = ("opened", "papers", "proofs", "resolved", "validate")


def shown() -> list[list[str]]:
    """The `connector advise` commands of the page that need no service and no folder."""
    blocks = re.findall(r"```\n(lockgate .*?)```", PAGE, re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("lockgate connector advise ")]
    return [found[1:] for found in words if len(found) > 3 and not {"--in-force", "--policy"} & set(found)]


@pytest.mark.parametrize("words", shown(), ids=" ".join)
def test_what_the_page_shows_can_be_typed(words: list[str], tmp_path: Path) -> None:
    code, out, err = run(*words)
    assert (code, err) == (0, ""), err
    if "--domain" in words:
        assert tomllib.loads(out)["organisation"]
        (tmp_path / "a.toml").write_text(out)
        assert run("check", str(tmp_path))[0] == 0
    elif "hosted" in words:
        assert out == "none\n"


def test_there_are_commands_to_run() -> None:
    assert len(shown()) >= 4


def test_every_step_and_outcome_is_explained() -> None:
    assert set(_WORDS) == {step.value for step in StepName}
    rows = set(re.findall(r"^\| ([A-Za-z][A-Za-z -]*) \|", PAGE, re.M))
    assert set(_WORDS.values()) <= rows, set(_WORDS.values()) - rows
    (listed,) = re.findall(r"^\| `step` \| (.*) \|$", PAGE, re.M)
    assert {word.partition(" ")[0] for word in listed.split(", ")} == {step.value for step in StepName}
    assert all(outcome.value in PAGE for outcome in StepOutcome)


def test_every_key_of_details_is_explained() -> None:
    (listed,) = re.findall(r"^\| `details` \| (.*) \|$", PAGE, re.M)
    explained = set(re.findall(r"`(\w+)`", listed))
    for name in COURIERS:
        text = (ROOT / "src" / "lockgate" / "couriers" / f"{name}.py").read_text("utf-8")
        for call in re.findall(r"(?:passed|failed|skipped)\(([^()]*(?:\([^()]*\)[^()]*)*)\)", text):
            for key in re.findall(r"(?<![\w.])(\w+)=(?!=)", call):
                assert key in explained | {"server", "recipient", "fix"}, f"{name}: {key}"
