"""The secrets of rewritten senders: made once, several of them, and never quietly replaced."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lockgate.app.srs_key import srs_secrets
from lockgate.flow.leading_back import WaysBack
from lockgate.testing.builders import address


def test_it_is_made_once_and_for_nobody_else_to_read(tmp_path: Path) -> None:
    path = tmp_path / "state" / "srs.key"
    with ThreadPoolExecutor(4) as many:
        made = set(many.map(lambda _: srs_secrets(path), range(8)))
    assert len(made) == 1
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["srs.key"]


def test_an_older_secret_still_opens_what_it_closed(tmp_path: Path) -> None:
    path = tmp_path / "srs.key"
    before = WaysBack(srs_secrets(path), lambda: 0.0)
    there = before.rewrite(address("ann@bank.test"), "contoso.com", 0.0)
    path.write_text(f"# new\n{'ab' * 32}\n\n{path.read_text()}")
    after = WaysBack(srs_secrets(path), lambda: 0.0)
    assert after.original(there.text).sender == address("ann@bank.test")
    assert after.rewrite(address("ann@bank.test"), "contoso.com", 0.0) != there


@pytest.mark.parametrize("text", ["", "# nothing\n", "secret\n", "abcd\n", "zz" * 32])
def test_a_damaged_file_is_told_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "srs.key"
    path.write_text(text)
    with pytest.raises(OSError, match=r"srs\.key"):
        srs_secrets(path)
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["ann@contoso.com", "SRS0=AAAAAAAA=AA=d.test=a b@us.test", "x"])
def test_what_leads_nowhere_says_why(text: str) -> None:
    found = WaysBack((b"s" * 32,), lambda: 0.0).original(text)
    assert found.sender is None
    assert found.why
