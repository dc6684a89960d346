"""`lockgate init`: answers become sound documents; wrong ones are told by name; nothing that exists is touched."""

from __future__ import annotations

import itertools
import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.app.config import parse_config, read_config
from lockgate.app.first import AlreadyThere, begin, self_signed
from lockgate.flow.first_steps import (
    Answers,
    Knowing,
    Mailboxes,
    Mistake,
    MxNow,
    checked,
    dns_lines,
    documents,
    next_steps,
)
from lockgate.policy.compile import compile_policy
from lockgate.policy.objects.domains import DomainType, RecipientValidation
from lockgate.wire.certificates import leaf_facts

SOURCE = Path(__file__).resolve().parents[2] / "src"


def answers(**other) -> Answers:
    given = {
        "hostname": "mx1.contoso.test", "domains": ("contoso.test", "Contoso.Example"), "mailboxes": Mailboxes.THERE,
        "mx": MxNow.THERE, "knowing": Knowing.FILE, "senders": ("192.0.2.0/28", "*.contoso.test"),
        "next_hop": "mail.contoso.test:2525", "address": "198.51.100.7",
    }  # fmt: skip
    return Answers(**{**given, **other})


def policy_of(files: dict[str, str]):
    texts = {name: text for name, text in files.items() if name.startswith("policy/")}
    return compile_policy(texts, hostname="mx1.contoso.test", revision=1)


SENDERS = {"nobody": (), "addresses": ("192.0.2.0/28", "2001:db8::7"), "names": ("*.contoso.test", "out.contoso.test")}
HOPS = ("mail.contoso.test", "mail.contoso.test:2525", "127.0.0.1:2525", "[2001:db8::25]:2525", "2001:db8::25")
EVERYTHING = list(itertools.product(Mailboxes, MxNow, Knowing, SENDERS, HOPS))


def possible(where: Mailboxes, knowing: Knowing) -> bool:
    return where is not Mailboxes.HERE or knowing is Knowing.FILE


def test_every_set_of_answers_makes_a_sound_policy():
    """All of them: where, who receives now, how we know, who may send, and each way to write a next hop."""
    assert len(EVERYTHING) == 405
    seen = 0
    for where, now, knowing, senders, hop in EVERYTHING:
        given = answers(mailboxes=where, mx=now, knowing=knowing, senders=SENDERS[senders], next_hop=hop)
        if not possible(where, knowing):
            with pytest.raises(Mistake, match="have to be known"):
                checked(given)
            continue
        seen += 1
        files = documents(checked(given))
        config = parse_config(files["lockgate.toml"], Path("/place/lockgate.toml"))
        policy = policy_of(files)
        mine = policy.organisations["contoso"]
        told = (where, now, knowing, senders, hop)
        # That a host's own certificate relays only mail of our domains is wanted, and said beside the connector.
        assert len(policy.warnings) == (senders == "names"), policy.warnings
        assert all("only mail with a sender of its own domains" in one.message for one in policy.warnings), told
        assert [domain.domain_name for domain in mine.accepted] == ["contoso.test", "contoso.example"], told
        assert all(domain.receives for domain in mine.accepted), told
        assert {one.domain_type for one in mine.accepted} == {
            DomainType.INTERNAL_RELAY if knowing is Knowing.ALL else DomainType.AUTHORITATIVE
        }, told
        assert {one.recipient_validation for one in mine.accepted} == {
            RecipientValidation.CALL_FORWARD if knowing is Knowing.ASK else RecipientValidation.DIRECTORY
        }, told
        assert {one.name for one in mine.inbound.values()} == {
            "nobody": set(), "addresses": {"Our servers"},
            "names": {"Certificate *.contoso.test", "Certificate out.contoso.test"},
        }[senders], told  # fmt: skip
        hosts = [one.smart_hosts for one in mine.outbound.named.values()]
        assert len(hosts) == (where is not Mailboxes.HERE), told
        assert config.mailboxes.kept is (where is not Mailboxes.THERE), told
        assert config.outgoing.allow == (("127.0.0.1/32",) if hosts and hop.startswith("127.") else ()), told
        assert ("recipients.csv" in files) is (where is not Mailboxes.THERE or knowing is Knowing.FILE), told
        steps = " ".join(next_steps(checked(given)))
        assert ("recipient import" in steps) is ("recipients.csv" in files), told
        assert all(str(line) for line in dns_lines(checked(given))), told
    assert seen == 315


@pytest.mark.parametrize("where", list(Mailboxes))
def test_mailboxes_that_are_here_have_a_folder(where, tmp_path):
    begin(tmp_path / "x", documents(checked(answers(mailboxes=where))), "mx1.contoso.test")
    config = read_config(tmp_path / "x" / "lockgate.toml")
    assert config.mailboxes.kept is (where is not Mailboxes.THERE)
    assert (tmp_path / "x" / "state" / "mail").is_dir() is config.mailboxes.kept


def test_nobody_may_send_outwards_unless_named():
    files = documents(checked(answers(senders=())))
    assert not policy_of(files).organisations["contoso"].inbound


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        ({"hostname": "mx1"}, "hostname"),
        ({"domains": ()}, "domain"),
        ({"domains": ("a b.test",)}, "domain"),
        ({"domains": ('x"]\nhostname = "evil.test',)}, "domain"),
        ({"next_hop": ""}, "next-hop"),
        ({"next_hop": "mail server"}, "next-hop"),
        ({"senders": ("anybody",)}, "sender"),
        ({"senders": ("mail.elsewhere.test",)}, "sender"),
        ({"senders": ("192.0.2.1/24",)}, "sender"),
        ({"mailboxes": Mailboxes.HERE, "knowing": Knowing.ALL}, "recipients"),
        ({"address": "our address"}, "address"),
    ],
)
def test_a_wrong_answer_is_told_by_its_name(wrong, answer):
    with pytest.raises(Mistake) as told:
        checked(answers(**wrong))
    assert told.value.answer == answer and str(told.value)


def test_the_dns_lines_are_those_a_zone_takes():
    lines = [str(line) for line in dns_lines(checked(answers()))]
    assert "mx1.contoso.test. 3600 IN A 198.51.100.7" in lines
    assert "7.100.51.198.in-addr.arpa. 3600 IN PTR mx1.contoso.test." in lines
    assert "contoso.test. 3600 IN MX 10 mx1.contoso.test." in lines
    spf = 'contoso.test. 3600 IN TXT "v=spf1 mx a:mx1.contoso.test a:mail.contoso.test ~all"'
    assert spf in lines
    assert '_dmarc.contoso.example. 3600 IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@contoso.example"' in lines
    v6 = [str(line) for line in dns_lines(checked(answers(address="2001:db8::7")))]
    assert "mx1.contoso.test. 3600 IN AAAA 2001:db8::7" in v6


def test_the_installation_is_written_whole_or_not_at_all(tmp_path):
    files = documents(checked(answers()))
    place = tmp_path / "new"
    assert begin(place, files, "mx1.contoso.test") == 1
    key = place / "tls" / "mx1.contoso.test.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert leaf_facts((place / "tls" / "mx1.contoso.test.pem").read_bytes()).names == ("mx1.contoso.test",)
    assert json.loads((place / "state" / "policy" / "current.json").read_bytes())["number"] == 1
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    with pytest.raises(AlreadyThere):
        begin(place, files, "mx1.contoso.test")
    assert before == {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_a_certificate_made_here_lasts_a_year():
    facts = leaf_facts(self_signed("mx1.contoso.test", 1_800_000_000.0)[0])
    assert facts.self_signed and facts.not_before < 1_800_000_000 < facts.not_after - 390 * 86400


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lockgate", *arguments], cwd=folder, capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=False,
    )  # fmt: skip


def test_without_a_terminal_the_missing_option_is_named(tmp_path):
    said = run("init", str(tmp_path / "x"), "--hostname", "mx1.contoso.test", folder=tmp_path)
    assert said.returncode == 2 and "--domain" in said.stderr
    assert not (tmp_path / "x").exists()


def test_what_if_writes_nothing(tmp_path):
    said = run(
        "init", str(tmp_path / "x"), "--hostname", "mx1.contoso.test", "--domain", "contoso.test", "--mailboxes",
        "there", "--next-hop", "192.0.2.9", "--mx", "us", "--recipients", "all", "--what-if", folder=tmp_path,
    )  # fmt: skip
    assert said.returncode == 0 and "192.0.2.9" in said.stdout
    assert not (tmp_path / "x").exists()


def test_six_questions_at_a_terminal_make_an_installation(tmp_path):
    """Answered as a person would, on a real pseudo-terminal."""
    typed = ["mx1.contoso.test", "contoso.test", "there", "127.0.0.1:2599", "us", "all", "192.0.2.7"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lockgate", "init", str(tmp_path / "x")], stdin=theirs, stdout=theirs,
        stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(SOURCE), "TERM": "dumb"}, close_fds=True,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, "".join(f"{line}\n" for line in typed).encode())
    said = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    assert process.wait(60) == 0, said.decode("utf-8", "replace")
    assert b"Revision 1" in said
    text = (tmp_path / "x" / "policy" / "connectors.toml").read_text()
    assert "127.0.0.1:2599" in text and "192.0.2.7/32" in text
