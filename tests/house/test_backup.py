"""Backup of a service under load, its loss, and the restore elsewhere: nothing lost, nothing sent before release."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lockgate.flow.asking import AuditFind, BackupMake, Kind, QueueEdit
from peers.service import SOURCE, Service, running
from peers.smtp_peer import Script, SmtpPeer

POLICY = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.test"
domain_type = "internal_relay"
vouched_by_operator = true
[[outbound_connector]]
name = "HQ"
connector_type = "on_premises"
recipient_domains = ["contoso.test"]
use_mx_record = false
smart_hosts = ["{host}"]
"""
LATER = Script(rcpt={"later@contoso.test": "451 4.2.0 not now"})
LARGE = b"x" * 70 + b"\r\n"


def cli(config: Path, *words: str) -> tuple[int, str]:
    """Exit code and everything that was printed."""
    done = subprocess.run(
        [sys.executable, "-m", "lockgate", "--config", str(config), *words],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


class Senders:
    """Mail from several connections, every second one to a recipient who takes it later; ids acknowledged so far."""

    def __init__(self, service: Service, count: int) -> None:
        self._service = service
        self._over = threading.Event()
        self.acknowledged: list[str] = []
        self._threads = [threading.Thread(target=self._send, args=(n,), daemon=True) for n in range(count)]
        for one in self._threads:
            one.start()

    def _send(self, number: int) -> None:
        count = 0
        with contextlib.suppress(OSError, AssertionError, EOFError), self._service.client() as client:
            while not self._over.is_set():
                count += 1
                name = f"{number}-{count}"
                body = LARGE * (20_000 if count % 50 == 7 else 20)
                content = b"From: a@out.test\r\nSubject: %s\r\n\r\n%s" % (name.encode(), body)
                to = "later@contoso.test" if count % 2 else "now@contoso.test"
                code, _ = client.letter("a@out.test", to, content=content)
                if code != 250:
                    return
                self.acknowledged.append(name)

    def stop(self) -> None:
        self._over.set()
        for one in self._threads:
            one.join(30)


def arrived(peer: SmtpPeer) -> list[str]:
    return [found[1].decode() for mail in peer.mails if (found := re.search(rb"Subject: (\S+)", mail.content))]


def kill(service: Service) -> None:
    """kill -9 of everything."""
    assert service.process is not None
    os.killpg(service.process.pid, signal.SIGKILL)
    service.process.wait()


@pytest.mark.slow
def test_backup_under_load_kill_restore_elsewhere(tmp_path):
    with SmtpPeer(LATER) as peer:
        port = int(peer.host.rpartition(":")[2])
        stack = contextlib.ExitStack()
        with contextlib.suppress(AssertionError):  # the service is killed, so its end is not a clean one
            service = stack.enter_context(running(tmp_path / "old", POLICY.format(host=peer.host), workers=2))
            with service.crowded(2):
                senders = Senders(service, 4)
                service.until(lambda: len(senders.acknowledged) > 300, "some hundred messages")
            message = service.send("x@out.test", "later@contoso.test", content=b"Subject: by-hand\r\n\r\nx\r\n")
            before, delivered_before = list(senders.acknowledged), set(arrived(peer))
            code, said = cli(service.config, "backup", str(tmp_path / "b.tar.zst"))
            assert code == 0, said
            after = len(senders.acknowledged)
            service.until(lambda: len(senders.acknowledged) > after + 100, "mail goes on")
            kill(service)
            senders.stop()
            stack.close()
        delivered = arrived(peer)
    assert stat.S_IMODE((tmp_path / "b.tar.zst").stat().st_mode) == 0o600
    assert not (tmp_path / "old" / "state" / "snapshot").exists()

    config = tmp_path / "new" / "lockgate.toml"
    code, said = cli(config, "restore", str(tmp_path / "b.tar.zst"))
    assert code == 0, said
    assert "Nothing is sent before you release it" in said
    restored = Service(config.parent, config)
    with SmtpPeer(port=port) as peer:
        restored.start()
        try:
            # Nothing is sent before the release; new mail is.
            restored.until(lambda: restored.queue(), "the queue is there")
            (task,) = restored.queue(id=message)
            assert task["held"].startswith("held by restore of the backup of 20")
            assert restored.trace(id=message)[0]["status"] == "Held"
            restored.send("x@out.test", "fresh@contoso.test", content=b"Subject: fresh\r\n\r\nx\r\n")
            restored.until(lambda: arrived(peer), "new mail goes through")
            time.sleep(2.5)
            assert arrived(peer) == ["fresh"]
            assert "are held since the restore" in restored.status()["restored"]

            code, said = cli(config, "queue", "release", "--restored", "--what-if")
            assert code == 0 and "nothing was changed" in said and "a second time" in said, said
            assert arrived(peer) == ["fresh"]
            code, said = cli(config, "queue", "release", "--restored")
            assert code == 0, said
            restored.until(lambda: not restored.queue(), "everything has left", patience=60)
            sent = arrived(peer)
        finally:
            assert restored.stop() == 0, restored.said()
    assert set(before) <= {*delivered, *sent}, "nothing is lost up to the backup"
    assert not delivered_before & set(sent), "what was delivered before the backup is not sent again"
    assert len(sent) == len(set(sent)), "nothing of the backup is sent twice"


def test_a_restored_place_has_documents_keys_recipients_trace_and_audit(tmp_path):
    tls = tmp_path / "tls"
    tls.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=mx.lockgate.test",
         "-keyout", str(tls / "key.pem"), "-out", str(tls / "chain.pem")], check=True, capture_output=True,
    )  # fmt: skip
    certificate = [{"chain": str(tls / "chain.pem"), "key": str(tls / "key.pem")}]
    with SmtpPeer() as peer:
        policy = POLICY.format(host=peer.host).replace("internal_relay", "authoritative")
        recipients = "address\nann@contoso.test\n"
        with running(tmp_path / "old", policy, recipients=recipients, certificate=certificate) as service:
            message = service.send("x@out.test", "ann@contoso.test")
            service.settled(message)
            made = service.done(BackupMake())
            assert Path(made["file"]).parent == service.state / "backups"
            assert service.answer(BackupMake(made["file"])).kind == Kind.MISUSE  # never another file's place
            assert service.answer(BackupMake(str(service.state / "queue" / "x"))).kind == Kind.MISUSE
            assert service.done(BackupMake(str(tmp_path), what_if=True))["outside"] == [
                str(tls / "chain.pem"), str(tls / "key.pem"),
            ]  # fmt: skip
            assert not list(tmp_path.glob("*.zst"))
        backup = tmp_path / "moved.tar.zst"
        Path(made["file"]).rename(backup)
        key = (tls / "key.pem").read_bytes()
        (tls / "key.pem").unlink()

        config = tmp_path / "new" / "lockgate.toml"
        code, said = cli(config, "restore", str(backup), "--what-if")
        assert code == 0 and "nothing was done" in said, said
        assert not config.exists() and not (tmp_path / "new" / "state").exists()
        code, said = cli(config, "restore", str(backup))
        assert code == 0, said
        assert (tls / "key.pem").read_bytes() == key
        assert stat.S_IMODE((tls / "key.pem").stat().st_mode) & 0o077 == 0
        code, said = cli(config, "restore", str(backup))
        assert code == 1 and "not empty" in said

        restored = Service(config.parent, config)
        restored.start()
        try:
            assert restored.trace(id=message)[0]["status"] == "Delivered"
            assert [row["what"] for row in restored.done(AuditFind(what="restore"))] == ["restore"]
            assert restored.done(AuditFind(what="recipient import"))
            with restored.client() as client:
                client.begin("x@out.test")
                assert client.to("nobody@contoso.test")[0] == 550
                assert client.to("ann@contoso.test")[0] == 250
            assert restored.answer(QueueEdit("release", {"held": "held by restore"})).kind == Kind.FINDING
        finally:
            assert restored.stop() == 0, restored.said()


HOSTED = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.test"
vouched_by_operator = true
"""
PEOPLE = "address,kind\nann@contoso.test,mailbox\nben@contoso.test,mailbox\n"


def letters(root: Path) -> dict[str, bytes]:
    """Every letter below a directory of mailboxes, by its path."""
    paths = [path for part in ("new", "cur") for path in root.rglob(f"{part}/*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_mailboxes_are_in_the_backup_and_go_where_the_operators_file_says(tmp_path, inside):
    mail = tmp_path / "old" / "state" / "mail" if inside else tmp_path / "mail"
    mail.mkdir(parents=True)
    with running(tmp_path / "old", HOSTED, recipients=PEOPLE, mailboxes={"directory": str(mail)}) as service:
        for to in ("ann@contoso.test", "ben@contoso.test", "ann@contoso.test"):
            service.settled(service.send("x@out.test", to))
        box = mail / "contoso" / "contoso.test" / "ann"
        (box / ".Sent" / "cur").mkdir(parents=True)
        first = sorted((box / "new").iterdir())[0]
        first.rename(box / ".Sent" / "cur" / f"{first.name}:2,S")
        before = letters(mail)
        backup, without = tmp_path / "with.tar.zst", tmp_path / "without.tar.zst"
        code, said = cli(service.config, "backup", str(backup), "--what-if")
        assert code == 0 and str(mail) in said, said
        code, said = cli(service.config, "backup", str(backup))
        assert code == 0 and re.search(r"mailboxes +2\nletters +3\n", said), said
        code, said = cli(service.config, "backup", str(without), "--no-mailboxes")
        assert code == 0 and re.search(r"mailboxes +left out", said), said
        assert service.answer(BackupMake(str(mail / "x.tar.zst"))).kind == Kind.MISUSE  # not into what is copied
    assert len(before) == 3

    text = (tmp_path / "old" / "lockgate.toml").read_text()
    elsewhere = tmp_path / "elsewhere" / "mail"
    config = tmp_path / "new" / "lockgate.toml"
    config.parent.mkdir()
    config.write_text(text.replace(f'"{mail}"', f'"{elsewhere}"'))
    (elsewhere / "contoso").mkdir(parents=True)
    for words in (["--what-if"], []):
        code, said = cli(config, "restore", str(backup), *words)
        assert code == 1 and "never writes among mailboxes" in said, said
    assert not (tmp_path / "new" / "state").exists() and list(elsewhere.rglob("*")) == [elsewhere / "contoso"]
    (elsewhere / "contoso").rmdir()
    (elsewhere / "lost+found").mkdir()
    code, said = cli(config, "restore", str(backup))
    assert code == 0, said
    assert letters(elsewhere) == before
    there = elsewhere / "contoso" / "contoso.test" / "ann"
    assert {one.name for one in (there / ".Sent").iterdir()} == {"new", "cur", "tmp"}
    assert all(stat.S_IMODE(one.stat().st_mode) & 0o077 == 0 for one in (elsewhere / "contoso").rglob("*"))
    assert not (tmp_path / "new" / "state" / "mail").exists()

    restored = Service(config.parent, config)
    restored.start()
    try:
        restored.settled(restored.send("x@out.test", "ann@contoso.test"))
        assert len(letters(elsewhere)) == 4
    finally:
        assert restored.stop() == 0, restored.said()

    bare = tmp_path / "bare" / "lockgate.toml"
    bare.parent.mkdir()
    bare.write_text(text.replace(f'"{mail}"', '"state/mail"'))
    code, said = cli(bare, "restore", str(without))
    assert code == 0, said
    assert (tmp_path / "bare" / "state" / "mail").is_dir() and not letters(tmp_path / "bare" / "state" / "mail")


def test_mailboxes_that_have_no_place_any_more_are_kept_for_a_person(tmp_path):
    mail = tmp_path / "mail"
    mail.mkdir()
    with running(tmp_path / "old", HOSTED, recipients=PEOPLE, mailboxes={"directory": str(mail)}) as service:
        service.settled(service.send("x@out.test", "ann@contoso.test"))
        made = service.done(BackupMake(str(tmp_path / "b.tar.zst")))
    config = tmp_path / "new" / "lockgate.toml"
    config.parent.mkdir()
    config.write_text('hostname = "mx.lockgate.test"\n[log]\ndestination = "stderr"\n')
    code, said = cli(config, "restore", made["file"])
    kept = tmp_path / "new" / "state" / "restored" / "mailboxes"
    assert code == 0 and f"mailboxes is in {kept}" in said, said
    assert letters(kept) == letters(mail)
