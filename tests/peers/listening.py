"""Sinks for what the service sends: ports that nobody listens on yet, and waiting for what arrives."""

from __future__ import annotations

import re
import socket
import time

from peers.smtp_peer import Mail, Script, SmtpPeer


class Down:
    """A port on which nobody listens (connections are refused) until `up()` puts a server there."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self._holder = socket.socket()
        # Both ends of the exchange allow reuse, so that nobody else can take the port in between.
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind((address, 0))
        self.port: int = self._holder.getsockname()[1]
        self._peer: SmtpPeer | None = None

    def __enter__(self) -> Down:
        return self

    def __exit__(self, *_: object) -> None:
        if self._peer is not None:
            self._peer.close()
        self._holder.close()

    @property
    def host(self) -> str:
        return f"{self.address}:{self.port}"

    def up(self, script: Script | None = None) -> SmtpPeer:
        """From now on a server listens."""
        self._peer = SmtpPeer(script, self.address, self.port)
        return self._peer


def arrived(peer: SmtpPeer, count: int = 1, patience: float = 20.0) -> list[Mail]:
    """The messages taken by `peer`, once there are at least `count`."""
    deadline = time.monotonic() + patience
    while len(peer.mails) < count:
        assert time.monotonic() < deadline, f"{len(peer.mails)} instead of {count} messages within {patience:g} s"
        time.sleep(0.02)
    return peer.mails


def recipients(mail: Mail) -> list[str]:
    """The addresses of the envelope."""
    return [command[command.find("<") + 1 : command.find(">")] for command in mail.rcpt]


def sender(mail: Mail) -> str:
    """The address of MAIL."""
    return mail.mail[mail.mail.find("<") + 1 : mail.mail.find(">")]


def subject(mail: Mail) -> str:
    """The first Subject field."""
    found = re.search(rb"^Subject: (.*)\r$", mail.content, re.MULTILINE)
    return found[1].decode() if found else ""
