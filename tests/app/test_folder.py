"""The policy folder with files that cannot be read: every mistake is told at once, and none that only follows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.app.folder import read_documents
from lockgate.app.policies import Policies
from lockgate.policy.problems import Invalid
from lockgate.seams import Overtaken

TOP = b'[[organisation]]\nname = "contoso"\n[[accepted_domain]]\ndomain_name = "contoso.com"\n'
SOURCE = Path(__file__).resolve().parents[2] / "src"


def told(folder: Path) -> list[str]:
    with pytest.raises(Invalid) as trouble:
        read_documents(folder)
    return [str(problem) for problem in trouble.value.problems]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.toml").write_bytes(TOP)
    return tmp_path


def test_all_mistakes_beside_a_file_that_cannot_be_read(folder: Path) -> None:
    (folder / "v.toml").mkdir()
    (folder / "w.toml").write_bytes(b"# one\n# two\n# caf\xe9\n")
    (folder / "x.toml").symlink_to("nowhere.toml")
    (folder / "y.toml").write_bytes(b"\n[[outbound_connector\n")
    (folder / "z.toml").write_bytes(b'[[outbound_connector]]\nname = "HQ"\nenabeld = true\n')
    folders, octets, link, syntax, key = told(folder)
    assert folders.startswith("v.toml:1: this is a folder")
    assert octets == (
        "w.toml:3: this is not UTF-8 (the octet 0xE9 cannot stand here); save it as UTF-8 (without BOM)"
    )
    assert link.startswith("x.toml:1: this link leads to nothing")
    assert syntax.startswith("y.toml:2: this is not valid TOML")
    assert key.startswith("z.toml:3: outbound_connector[0].enabeld: there is no 'enabeld'")


REFERS = b"""\
[[accepted_domain]]
domain_name = "alias.test"
alias_of = "elsewhere.test"
[[inbound_connector]]
name = "Own"
connector_type = "on_premises"
tls_sender_certificate_name = "mail.elsewhere.test"
associated_accepted_domains = ["elsewhere.test"]
[[dkim_signing_config]]
domain_name = "elsewhere.test"
[[mail_flow_rule]]
name = "R"
sender_in_list = ["elsewhere"]
route_message_outbound_connector = "Elsewhere"
"""


HELD = b"""\
[[organisation]]
[[accepted_domain]]
[[named_list]]
name = 'elsewhere'
[[outbound_connector]]
name = 'Elsewhere'
["""


@pytest.mark.parametrize("lost", [b"\xff\xfe[\x00", HELD])
@pytest.mark.parametrize("organisation", [b'organisation = "elsewhere"\n', b""])
def test_what_may_stand_in_the_file_is_not_missed(tmp_path: Path, lost: bytes, organisation: bytes) -> None:
    named = REFERS.replace(b"\n[[", b"\n" + organisation + b"[[") + organisation
    (tmp_path / "b.toml").write_bytes(named)
    (tmp_path / "lost.toml").write_bytes(lost)
    policies = Policies(tmp_path / "state", "mx.lockgate.test")
    with pytest.raises(Invalid) as trouble:
        policies.check(tmp_path)
    assert [problem.file for problem in trouble.value.problems] == ["lost.toml"]

    (tmp_path / "b.toml").write_bytes(named + b'priority = "x"\n[[mail_flow_rule]]\nname = "R"\n' + organisation)
    with pytest.raises(Invalid) as trouble:
        policies.check(tmp_path)
    paths = [problem.path for problem in trouble.value.problems if problem.file == "b.toml"]
    assert paths == ["mail_flow_rule[0].priority", "mail_flow_rule[1].name"], "mistakes of their own are told"


def test_what_a_broken_text_does_not_hold_is_missed_all_the_same(folder: Path) -> None:
    (folder / "b.toml").write_bytes(b'[[mail_flow_rule]]\nname = "R"\nroute_message_outbound_connector = "HQ"\n')
    (folder / "lost.toml").write_bytes(b"[[named_list")
    policies = Policies(folder / "state", "mx.lockgate.test")
    with pytest.raises(Invalid) as trouble:
        policies.check(folder)
    assert [problem.file for problem in trouble.value.problems] == ["b.toml", "lost.toml"]


def test_a_byte_order_mark_is_told_as_what_it_is(folder: Path) -> None:
    (folder / "b.toml").write_bytes(b"\xef\xbb\xbf[[outbound_connector]]\r\nname = 1\r\n")
    policies = Policies(folder / "state", "mx.lockgate.test")
    with pytest.raises(Invalid) as trouble:
        policies.check(folder)
    first, second = (str(problem) for problem in trouble.value.problems)
    assert first == "b.toml:1: the file begins with a byte order mark (BOM); save it as UTF-8 without BOM"
    assert second.startswith("b.toml:2: outbound_connector[0].name: must be text")


def test_an_edit_by_command_tells_only_what_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    policies = Policies(tmp_path / "state", "mx.lockgate.test", folder)
    policies.publish(folder, by="start", at=1.0)
    (folder / "w.toml").write_bytes(b"\xff\xfe")
    (folder / "z.toml").write_bytes(b"x = 1\n")
    with pytest.raises(Overtaken) as trouble:
        policies.put({}, after=1, by="0 root", reason="", at=2.0, digest="", discard=False)
    assert "w.toml:1" in str(trouble.value) and "z.toml" not in str(trouble.value)


def test_check_tells_them_all(folder: Path) -> None:
    (folder / "w.toml").write_bytes(b"\xff\xfe")
    (folder / "z.toml").write_bytes(b"x = 1\n")
    done = subprocess.run(
        [sys.executable, "-m", "lockgate", "check", str(folder)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "w.toml:1: this is not UTF-8" in done.stdout + done.stderr
    assert "z.toml:1: x: there is no 'x'" in done.stdout + done.stderr
