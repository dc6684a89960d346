"""Debian's Postfix as a peer: its own directories and ports, as our next hop and as a server that sends to us."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from peers.ports import free_port

MASTER = """\
127.0.0.1:{port} inet n - n - 20 smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
virtual   unix  - n n - - virtual
local     unix  - n n - - local
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""

MAIN: dict[str, str] = {
    "compatibility_level": "3.6",
    "myhostname": "postfix.test",
    "mydestination": "",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "mynetworks": "127.0.0.0/8",
    "relayhost": "",
    "smtp_dns_support_level": "disabled",
    "smtp_host_lookup": "native",
    "smtpd_peername_lookup": "no",
    "alias_maps": "",
    "alias_database": "",
    "local_recipient_maps": "",
    "minimal_backoff_time": "2s",
    "maximal_backoff_time": "2s",
    "queue_run_delay": "2s",
    "smtpd_tls_security_level": "none",
    "smtp_tls_security_level": "none",
}


class Postfix:
    """One Postfix below a temporary folder; use as a context manager.

    `main` are further lines of main.cf. Mail for `mailboxes` (addresses) is stored in Maildirs here, everything else
    goes to `next_hop` ("[address]:port") or, without one, is deferred. Needs root, because Postfix does.
    """

    def __init__(
        self, *, mailboxes: tuple[str, ...] = (), next_hop: str = "", main: Mapping[str, str] | None = None
    ) -> None:
        if shutil.which("postfix") is None:
            pytest.skip("Postfix is not installed (Debian: apt-get install postfix)")
        if os.geteuid() != 0:
            pytest.skip("Postfix can only be started by root")
        self.port = free_port()
        # Not below pytest's folder: that one is closed to Postfix's own user.
        self.folder = Path(tempfile.mkdtemp(prefix="lockgate-postfix-"))
        self.folder.chmod(0o755)
        self._config, self._queue, self._data = (self.folder / name for name in ("config", "queue", "data"))
        self._mail = self.folder / "mail"
        for made in (self._config, self._queue, self._data, self._mail):
            made.mkdir()
        for owned in (self._data, self._mail):
            shutil.chown(owned, "postfix")
        lines = {
            **MAIN,
            "queue_directory": str(self._queue),
            "data_directory": str(self._data),
            "maillog_file_prefixes": str(self._data),
            "maillog_file": str(self._data / "mail.log"),
            "default_transport": f"smtp:{next_hop}" if next_hop else "retry:nowhere to go",
            **self._virtual(mailboxes),
            **(main or {}),
        }
        (self._config / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
        (self._config / "master.cf").write_text(MASTER.format(port=self.port))

    def _virtual(self, mailboxes: tuple[str, ...]) -> dict[str, str]:
        if not mailboxes:
            return {}
        user = pwd.getpwnam("postfix").pw_uid
        table = self._config / "mailboxes"
        table.write_text("".join(f"/^{address.replace('.', '[.]')}$/ {address}/\n" for address in mailboxes))
        return {
            "virtual_mailbox_domains": ", ".join(sorted({address.rpartition("@")[2] for address in mailboxes})),
            "virtual_mailbox_base": str(self._mail),
            "virtual_mailbox_maps": f"regexp:{table}",
            "virtual_minimum_uid": "1",
            "virtual_uid_maps": f"static:{user}",
            "virtual_gid_maps": f"static:{user}",
        }

    def __enter__(self) -> Postfix:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start and wait until it greets."""
        command = ["postfix", "-c", str(self._config), "start"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"Postfix does not start: {done.stderr}\n{self.log()}"
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                probe.settimeout(5)
                if probe.recv(200).startswith(b"220"):
                    probe.sendall(b"QUIT\r\n")
                    return
            time.sleep(0.1)
        raise AssertionError(f"Postfix does not answer:\n{self.log()}")

    def stop(self) -> None:
        """End it by the pid in its own queue directory."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self._queue / "pid" / "master.pid").read_text())
            subprocess.run(["postfix", "-c", str(self._config), "stop"], capture_output=True, check=False)
            end = time.monotonic() + 20
            while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
                time.sleep(0.05)

    def send(self, sender: str, recipient: str, message: bytes) -> None:
        """Hand it a message as a local program would; it goes where the settings say."""
        command = ["sendmail", "-C", str(self._config), "-i", "-f", sender, "--", recipient]
        subprocess.run(command, input=message.replace(b"\r\n", b"\n"), check=True, capture_output=True)

    def flush(self) -> None:
        """Try everything that waits again now."""
        subprocess.run(["postqueue", "-c", str(self._config), "-f"], check=True, capture_output=True)

    def stored(self, address: str) -> list[bytes]:
        """The messages in a mailbox, with Postfix's line ends (LF)."""
        return [path.read_bytes() for path in sorted((self._mail / address / "new").glob("*"))]

    def log(self) -> str:
        """Its log so far."""
        path = self._data / "mail.log"
        return path.read_text(errors="replace") if path.exists() else ""
