"""Debian's Dovecot as a peer: IMAP to read mailboxes with, LMTP as a store; its own folder, ports and processes."""

from __future__ import annotations

import contextlib
import imaplib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from peers.ports import free_port

PROGRAM = shutil.which("dovecot", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
LMTP = Path("/usr/lib/dovecot/lmtp")
IMAP = Path("/usr/lib/dovecot/imap")
PASSWORD = "secret"

CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/dovecot.log
protocols = imap lmtp
ssl = {ssl}
{certificate}
disable_plaintext_auth = no
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
mail_location = maildir:{place}
mail_fsync = always
first_valid_uid = 1
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={place} allow_all_users=yes
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
"""


def need_dovecot() -> None:
    """Skip, with the reason, where Dovecot cannot be run."""
    if PROGRAM is None or not IMAP.exists():
        pytest.skip("Dovecot is not installed (Debian: apt-get install dovecot-imapd)")
    if not LMTP.exists():
        pytest.skip("Dovecot's LMTP server is not installed (Debian: apt-get install dovecot-lmtpd)")


class Dovecot:
    """One instance; a context manager. `mail` is the folder of its Maildirs, `layout` where in it a user's lies.

    Dovecot never touches the mail of root. Where the tests run as root its mail belongs to nobody, and `adopt` gives
    what others have written there to it, as if all ran under one account.
    """

    def __init__(self, layout: str = "%Ld/%Ln", *, certificate: tuple[Path, Path] | None = None) -> None:
        need_dovecot()
        self._folder = Path(tempfile.mkdtemp(prefix="dovecot-", dir="/tmp"))
        self._folder.chmod(0o755)
        self.mail = self._folder / "mail"
        self.mail.mkdir()
        self._owner = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
        self._layout = layout
        self._certificate = certificate
        self.imap_port, self.lmtp_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return str(self._folder / "lmtp")

    def __enter__(self) -> Dovecot:
        self._write_config()
        (self._folder / "run").mkdir()
        self.adopt()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_config(self) -> None:
        import grp
        import pwd

        uid, gid = self._owner
        certificate = ""
        if self._certificate:
            certificate = f"ssl_cert = <{self._certificate[0]}\nssl_key = <{self._certificate[1]}"
        text = CONFIG.format(
            folder=self._folder, place=f"{self.mail}/{self._layout}", password=PASSWORD, uid=uid, gid=gid,
            user=pwd.getpwuid(uid).pw_name, group=grp.getgrgid(gid).gr_name, imap=self.imap_port, lmtp=self.lmtp_port,
            ssl="yes" if certificate else "no", certificate=certificate,
        )  # fmt: skip
        (self._folder / "dovecot.conf").write_text(text)

    def start(self) -> None:
        assert PROGRAM is not None
        with (self._folder / "out").open("ab") as out:
            words = [PROGRAM, "-F", "-c", str(self._folder / "dovecot.conf")]
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        deadline = time.monotonic() + 20
        for port in (self.imap_port, self.lmtp_port):
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as one:
                    if one.recv(100):
                        break
                assert time.monotonic() < deadline, f"Dovecot did not start:\n{self.said()}"
                time.sleep(0.05)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def said(self) -> str:
        """What it wrote."""
        return "\n".join(
            path.read_text("utf-8", "replace")
            for name in ("out", "dovecot.log")
            if (path := self._folder / name).exists()
        )

    def adopt(self) -> None:
        """Have all mail belong to the account that Dovecot reads it as."""
        if os.geteuid() == 0:
            for place, _, files in os.walk(self.mail):
                for name in ("", *files):
                    with contextlib.suppress(FileNotFoundError):
                        os.chown(os.path.join(place, name), *self._owner, follow_symlinks=False)

    @contextlib.contextmanager
    def inbox(self, user: str):
        """An IMAP session with the inbox selected."""
        self.adopt()
        session = imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=20)
        try:
            session.login(user, PASSWORD)
            answer, told = session.select("INBOX")
            assert answer == "OK", f"{told}\n{self.said()}"
            yield session
        finally:
            session.logout()

    def messages(self, user: str) -> list[bytes]:
        """The messages of a user in the order of their arrival, to the octet as IMAP gives them."""
        with self.inbox(user) as session:
            _, (numbers,) = session.search(None, "ALL")
            return [_octets(session.fetch(number, "(BODY.PEEK[])")[1]) for number in numbers.split()]


def _octets(answer) -> bytes:
    return next(part[1] for part in answer if isinstance(part, tuple))
