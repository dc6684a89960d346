"""[mta_sts] of the operator's file: defaults, paths, what contradicts itself, and what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.app.config import check_files, parse_config
from lockgate.app.sts import courier_sts, shown_keys
from lockgate.policy.problems import Invalid
from lockgate.testing.clock import HandClock
from lockgate.testing.journal import ListJournal
from peers.certificates import Authority

HEAD = 'hostname = "mx.contoso.test"\n'
CERTIFICATE = '[[certificate]]\nchain = "chain.pem"\nkey = "key.pem"\n'


def test_policies_of_others_are_obeyed_and_none_served_by_default(tmp_path: Path) -> None:
    config = parse_config(HEAD, tmp_path / "lockgate.toml")
    assert config.mta_sts.fetch and config.mta_sts.port is None and config.mta_sts.https_port == 443
    assert config.sts_file == tmp_path / "state" / "sts" / "sts.sqlite"
    assert courier_sts(config, HandClock(), ListJournal(), ()) is not None
    off = parse_config(HEAD + "[mta_sts]\nfetch = false\n", tmp_path / "lockgate.toml")
    assert courier_sts(off, HandClock(), ListJournal(), ()) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("port = 443", "needs a \\[\\[certificate\\]\\]"), ("port = 70000", "mta_sts.port"),
        ('retry = "0s"', "mta_sts.retry"), ('first_answer = "5m"', "mta_sts.first_answer"),
        ("addresses = []", "mta_sts.addresses"), ('refresh = "1s"', "mta_sts.refresh"), ("fetches = true", "unknown"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_a_mistake(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        parse_config(f"{HEAD}[mta_sts]\n{text}\n", tmp_path / "lockgate.toml")


def test_keys_are_found_beside_the_file_and_missed_before_the_start(tmp_path: Path) -> None:
    file = tmp_path / "lockgate.toml"
    file.write_text(f'{HEAD}{CERTIFICATE}[mta_sts]\nport = 443\nnext_keys = ["next.pem"]\n')
    config = parse_config(file.read_text(), file)
    assert config.mta_sts.next_keys == (tmp_path / "next.pem",)
    found = [problem for problem in check_files(config, file) if problem.path.startswith("mta_sts")]
    assert [(problem.line, problem.path) for problem in found] == [(7, "mta_sts.next_keys[1]")]


def test_keys_are_read_from_certificates_and_keys(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    now, following = (Authority(tmp_path, name).issue(f"mx{name}.contoso.test") for name in "12")
    public = tmp_path / "public.pem"
    public.write_bytes(following.certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    text = f'[[certificate]]\nchain = "{now.chain}"\nkey = "{now.key}"\n[mta_sts]\n'
    text += f'next_keys = ["{following.chain}", "{following.key}", "{public}"]\n'
    keys = shown_keys(parse_config(HEAD + text, tmp_path / "lockgate.toml"))
    assert [(key.names, key.spki, key.following) for key in keys] == [
        (("mx1.contoso.test",), now.pin, False), (("mx2.contoso.test",), following.pin, True),
        ((), following.pin, True), ((), following.pin, True),
    ]  # fmt: skip


def test_a_broken_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "next.pem").write_text("nonsense")
    config = parse_config(f'{HEAD}[mta_sts]\nnext_keys = ["next.pem"]\n', tmp_path / "lockgate.toml")
    with pytest.raises(ValueError, match=r"next\.pem: "):
        shown_keys(config)
