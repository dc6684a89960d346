"""The pages about scenarios: documents without cause to warn, stories that come true, parameters that Postfix has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lockgate.flow.stories import failures, play, read_story
from lockgate.policy.compile import compile_policy
from lockgate.policy.policy import Policy

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted((DOCS / "scenarios").glob("*.md"))


def blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)


def policy_of(page: Path) -> Policy:
    (documents,) = blocks(page, "toml")
    return compile_policy({"contoso.toml": documents}, hostname="mx.lockgate.example", revision=1)


STORIES = [
    pytest.param(page, story, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, story in enumerate(blocks(page, "story"), 1)
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_documents_are_sound_and_give_no_cause_to_warn(page: Path) -> None:
    assert policy_of(page).warnings == ()


@pytest.mark.parametrize(("page", "text"), STORIES)
def test_what_is_told_comes_true(page: Path, text: str) -> None:
    story = read_story(text, page.name)
    assert failures(story, play(story, policy_of(page))) == ()


def test_every_page_is_in_the_index_and_every_scenario_has_its_parts() -> None:
    index = (DOCS / "scenarios.md").read_text("utf-8")
    for page in PAGES:
        assert f"(scenarios/{page.name})" in index
        text = page.read_text("utf-8")
        assert [line for line in text.splitlines() if line.startswith("## ")][-1] == "## Prove it"
        assert {"## What you write", "## DNS", "## What becomes of a message"} <= set(text.splitlines())
        assert re.search(r"^## What (the|your|its) .* configures$", text, re.M)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "postfix")], ids=lambda page: page.stem)
def test_postfix_knows_what_it_shall_configure(page: Path, tmp_path: Path) -> None:
    postconf = shutil.which("postconf") or shutil.which("postconf", path="/usr/sbin")
    if postconf is None:
        pytest.skip("Postfix is not installed")
    (lines,) = blocks(page, "postfix")
    (tmp_path / "main.cf").write_text(lines)
    (tmp_path / "master.cf").write_text("")
    done = subprocess.run([postconf, "-c", str(tmp_path), "-n"], capture_output=True, text=True, timeout=60, check=True)
    names = re.findall(r"^(\w+) =", lines, re.M)
    told = {line.split(" ")[0] for line in done.stdout.splitlines()} - {"config_directory"}
    assert told == set(names)
    assert "unused parameter" not in done.stderr
