"""The documents tell the truth: what README and the manual name is there."""

from __future__ import annotations

import functools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lockgate.app.config import OperatorFile, parse_config

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_readme_leads_to_every_page_of_the_manual() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+)\)", (ROOT / "README.md").read_text("utf-8")))
    assert linked == {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([a-z-]+)`", path.read_text("utf-8"))) <= targets


@functools.cache
def _all_commands() -> Any:
    from typer.main import get_command

    from lockgate.cli.commands import everything

    return get_command(everything())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(path: Path) -> None:
    root = _all_commands()
    for line in re.findall(r"`lockgate ((?:--config \S+ )?[a-z-]+(?: [a-z-]+)?)", path.read_text("utf-8")):
        words = re.sub(r"^--config \S+ ", "", line).split()
        first = root.commands.get(words[0])
        assert first is not None, line
        if hasattr(first, "commands") and len(words) > 1:
            assert words[1] in first.commands, line


def test_every_setting_of_the_operators_file_is_in_the_manual() -> None:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    for name, field in OperatorFile.model_fields.items():
        assert f"`{name}`" in text or f"[{name}]" in text, name
        inner = field.annotation
        for part in getattr(inner, "__args__", (inner,)):
            for key in getattr(part, "model_fields", {}):
                assert f"`{key}`" in text, f"{name}.{key}"


def test_the_sample_in_the_manual_is_sound() -> None:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    samples = [sample for sample in re.findall(r"```toml\n(.*?)```", text, re.S) if "hostname" in sample]
    assert samples
    for sample in samples:
        parse_config(sample, Path("lockgate.toml"))


def test_every_dependency_is_explained() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text("utf-8").lower()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(name for names in extras for name in names)]
    for requirement in wanted:
        name = re.split(r"[^A-Za-z0-9_-]", requirement)[0].lower()
        assert f"| {name} |" in text, f"{name}: docs/dependencies.md does not say what it spares us"


def test_every_cited_standard_is_in_the_index() -> None:
    index = set(re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "rfcs.md").read_text("utf-8"), re.M))
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        text = path.read_text("utf-8")
        cited = set(re.findall(r"\bRFC ?(\d{3,5})\b", text))
        assert cited <= index, f"{path.relative_to(ROOT)} cites {sorted(cited - index)}"


def test_the_documents_of_the_hybrid_page_are_sound() -> None:
    from lockgate.policy.compile import compile_policy

    (text,) = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs" / "hybrid.md").read_text("utf-8"), re.S | re.M)
    before = '[[organisation]]\nname = "contoso"\n[[accepted_domain]]\ndomain_name = "contoso.com"\ndefault = true\n'
    before += 'vouched_by_operator = true\n'
    policy = compile_policy({"a": before, "hybrid": text}, hostname="mx.example.net", revision=1)
    assert policy.organisations["contoso"].hybrid and policy.organisations["contoso"].home_domain == "contoso.com"
