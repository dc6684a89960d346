"""A sending peer at any address: smtplib behind a PROXY protocol header, and a plain socket for what it cannot say."""

from __future__ import annotations

import contextlib
import ipaddress
import smtplib
import socket
import ssl
from typing import Any

HEADER = "From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@client.test>\r\n\r\n"


def proxy_header(peer: str, port: int = 0) -> bytes:
    """A PROXY protocol header, version 2, that says the connection comes from `peer`."""
    address = ipaddress.ip_address(peer)
    here = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    kind = 0x11 if address.version == 4 else 0x21
    block = address.packed + here.packed + (port or 40000).to_bytes(2, "big") + (25).to_bytes(2, "big")
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes((0x21, kind)) + len(block).to_bytes(2, "big") + block


def letter(sender: str, to: str, subject: str = "hello", body: str = "This is the body.\r\n") -> bytes:
    """A small message."""
    return (HEADER.format(sender=sender, to=to, subject=subject) + body).encode()


class Client(smtplib.SMTP):
    """smtplib that says EHLO at once. Replies are (code, text)."""

    def __init__(self, port: int, peer: str = "192.0.2.10", helo: str = "client.test") -> None:
        self._peer = peer
        self.banner = (0, "")
        super().__init__("127.0.0.1", port, helo, timeout=20)

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:
        sock = socket.create_connection((host, port), timeout)
        if self._peer:
            sock.sendall(proxy_header(self._peer))
        return sock

    def __exit__(self, *args: Any) -> None:
        with contextlib.suppress(smtplib.SMTPServerDisconnected, OSError):
            super().__exit__(*args)
        self.close()

    def secure(self, chain: Any = None, key: Any = None) -> None:
        """STARTTLS, with a client certificate if one is given; the server's is not checked."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if chain is not None:
            context.load_cert_chain(chain, key)
        code, text = self.starttls(context=context)
        assert code == 220, text
        self.ehlo()

    def begin(self, sender: str, *options: str) -> tuple[int, str]:
        """EHLO if it is due, and MAIL."""
        self.ehlo_or_helo_if_needed()
        return said(self.mail(sender, options))

    def to(self, recipient: str) -> tuple[int, str]:
        """RCPT."""
        return said(self.rcpt(recipient))

    def content(self, content: bytes) -> tuple[int, str]:
        """DATA and all of it."""
        try:
            return said(self.data(content))
        except smtplib.SMTPDataError as refused:
            return said((refused.smtp_code, refused.smtp_error))

    def letter(
        self, sender: str, *recipients: str, content: bytes | str = "", options: tuple[str, ...] = ()
    ) -> tuple[int, str]:
        """A whole transaction; the first answer that is no yes, or the last one. Text is the subject."""
        code, text = self.begin(sender, *options)
        if code != 250:
            return code, text
        for recipient in recipients:
            code, text = self.to(recipient)
            if code != 250:
                return code, text
        if isinstance(content, str):
            content = letter(sender, recipients[0], content or "hello")
        return self.content(content)


def said(reply: tuple[int, Any]) -> tuple[int, str]:
    """A reply of smtplib with its text as text."""
    code, text = reply
    return code, text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


class Raw:
    """A socket that sends what it is told, octet by octet, and reads reply lines."""

    def __init__(self, port: int, peer: str = "192.0.2.10") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.socket.sendall(proxy_header(peer) if peer else b"")
        self._buffer = b""
        self.heard: list[str] = []

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def reply(self) -> str:
        """The next whole reply, its last line; "" once the server has hung up."""
        while True:
            while b"\r\n" not in self._buffer:
                try:
                    data = self.socket.recv(65536)
                except ConnectionError:
                    return ""
                if not data:
                    return ""
                self._buffer += data
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            text = line.decode("utf-8", "replace")
            self.heard.append(text)
            if text[3:4] != "-":
                return text

    def say(self, octets: bytes) -> str:
        """Send and read one reply."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(octets)
        return self.reply()

    def transaction(self, sender: str, *recipients: str, extended: bool = True) -> None:
        """Greeting to DATA; every answer has to be a yes."""
        assert self.reply().startswith("220 "), self.heard
        assert self.say(b"EHLO raw.test\r\n" if extended else b"HELO raw.test\r\n").startswith("250 "), self.heard
        assert self.say(f"MAIL FROM:<{sender}>\r\n".encode()).startswith("250 "), self.heard
        for recipient in recipients:
            assert self.say(f"RCPT TO:<{recipient}>\r\n".encode()).startswith("250 "), self.heard
        assert self.say(b"DATA\r\n").startswith("354 "), self.heard
