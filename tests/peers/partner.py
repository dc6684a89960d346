"""A sending server that comes again: the second time on a new connection, with the TLS session of the first at hand.

A resumed session has lost the client's chain (DESIGN 5), so what holds the first time must hold the second time too.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

from peers.client import Client
from peers.service import Service

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
Papers = tuple[str, str] | tuple[Path, Path] | None


class Partner:
    """One peer at one address. `papers` are its certificate chain and key; None: it shows none."""

    def __init__(
        self, service: Service, peer: str, papers: Papers = None, *, tls: bool = True, version: str = ""
    ) -> None:
        self.service, self.peer, self.tls = service, peer, tls
        self.resumed: list[bool] = []
        self._session: ssl.SSLSession | None = None
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        if version:
            self._context.minimum_version = self._context.maximum_version = VERSIONS[version]
        if papers is not None:
            self._context.load_cert_chain(*papers)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Client]:
        """One connection, in TLS if this peer uses it; it offers the session of the last one."""
        with self.service.client(self.peer) as client:
            if self.tls:
                self._secure(client)
            yield client
            if self.tls and client.sock is not None:
                self._session = client.sock.session

    def _secure(self, client: Client) -> None:
        client.ehlo()
        code, text = client.docmd("STARTTLS")
        assert code == 220, text
        client.sock = self._context.wrap_socket(client.sock, server_hostname="mx.lockgate.test", session=self._session)
        self.resumed.append(bool(client.sock.session_reused))
        client.file = None
        client.helo_resp = client.ehlo_resp = None
        client.esmtp_features = {}
        client.does_esmtp = False
        client.ehlo()

    def asks(self, sender: str, *recipients: str) -> list[tuple[int, str]]:
        """The answers to RCPT, which have to be the same on two connections one after the other."""
        first, second = self._asks(sender, recipients), self._asks(sender, recipients)
        shown = [(code, _without_id(text)) for code, text in first]
        assert shown == [(code, _without_id(text)) for code, text in second], "another answer on the second connection"
        assert not any(self.resumed), "a session was resumed, and its chain is lost"
        return first

    def _asks(self, sender: str, recipients: tuple[str, ...]) -> list[tuple[int, str]]:
        with self.connection() as client:
            code, text = client.begin(sender)
            assert code == 250, text
            answers = [client.to(recipient) for recipient in recipients]
            client.noop()  # TLS 1.3 sends its tickets after the handshake
            return answers

    def sends(self, sender: str, *recipients: str, content: bytes | str = "") -> list[tuple[int, str]]:
        """A whole message on each of two connections; the final answers."""
        answers = []
        for _ in range(2):
            with self.connection() as client:
                answers.append(client.letter(sender, *recipients, content=content))
        assert not any(self.resumed), "a session was resumed, and its chain is lost"
        return answers


def _without_id(text: str) -> str:
    return text.partition(" (id ")[0]
