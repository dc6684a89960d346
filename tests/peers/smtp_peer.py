"""An SMTP server that does as its script says, well or badly, and logs every octet that came in clear."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

ALL = ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE 50000000", "ENHANCEDSTATUSCODES", "CHUNKING")
PLAIN = ("PIPELINING", "8BITMIME", "SIZE 50000000")


@dataclass(frozen=True)
class Script:
    """What the peer does. Replies are whole lines without CRLF; "" means: say nothing.

    `hang_up` names the moment at which it drops the connection: connect, greeting, ehlo, starttls, handshake, mail,
    rcpt, data, content (in the midst of it), final (after the content, before the answer), after (after the answer).
    `hang_up_times` bounds how often. `rcpt` gives the reply for single addresses. `bite` is the number of octets read
    at a time, `pause` the seconds between; `idle_out` closes a connection after so many messages without a word.
    `behind` are octets in the same segment as the answer to the content, in clear if `behind_in_clear` even under TLS.
    """

    extensions: tuple[str, ...] = ALL
    context: ssl.SSLContext | None = None
    offer_tls: bool | None = None
    greeting: str = "220 peer.test ESMTP"
    ehlo: str = ""
    helo: str = "250 peer.test"
    starttls: str = "220 go"
    inject: bytes = b""
    broken_tls: bool = False
    mail: str = "250 2.1.0 ok"
    rcpt: Mapping[str, str] = field(default_factory=dict)
    data: str = "354 go"
    final: str = "250 2.0.0 taken"
    behind: bytes = b""
    behind_in_clear: bool = False
    auth: str = "235 2.7.0 welcome"
    hang_up: str = ""
    hang_up_times: int = 1_000_000
    most_recipients: int = 0
    too_many: str = "452 4.5.3 too many"
    bite: int = 65536
    pause: float = 0.0
    idle_out: int = 0


@dataclass
class Mail:
    """One message taken: the envelope as commands, the content with stuffing undone, and the octets as they came."""

    mail: str
    rcpt: list[str]
    content: bytes
    raw: bytes


@dataclass
class Session:
    """One connection: all octets in clear, all octets under TLS, the TLS version, the client's certificate."""

    clear: bytes = b""
    secure: bytes = b""
    tls: str = ""
    sni: str = ""
    resumed: bool = False
    client_certificate: bytes | None = None
    mails: list[Mail] = field(default_factory=list)
    first_segments: list[bytes] = field(default_factory=list)


class _HangUp(Exception):
    pass


class SmtpPeer:
    """Listens on loopback, on a free port unless one is given; use as a context manager."""

    def __init__(self, script: Script | None = None, address: str = "127.0.0.1", port: int = 0) -> None:
        self.script = script or Script()
        self.sessions: list[Session] = []
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.create_server((address, port), family=family)
        self.address = address
        self.port: int = self._socket.getsockname()[1]
        self._closed = False
        self._hung_up = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def __enter__(self) -> SmtpPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def host(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def mails(self) -> list[Mail]:
        return [mail for session in self.sessions for mail in session.mails]

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.drop_all()
        for thread in [self._thread, *self._threads]:
            thread.join(5)

    def drop_all(self) -> None:
        """Close every connection that is open, without a word."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        session = Session()
        self.sessions.append(session)
        talk = _Talk(self, connection, session)
        try:
            talk.run()
        except (_HangUp, OSError, EOFError):
            pass
        finally:
            with contextlib.suppress(OSError):
                talk.socket.close()

    def hang_up(self, moment: str) -> None:
        if self.script.hang_up == moment and self._hung_up < self.script.hang_up_times:
            self._hung_up += 1
            raise _HangUp


class _Talk:
    def __init__(self, peer: SmtpPeer, connection: socket.socket, session: Session) -> None:
        self.peer = peer
        self.script = peer.script
        self.socket = connection
        self.session = session
        self.buffer = b""
        self.mail = ""
        self.rcpt: list[str] = []
        self.chunks = b""
        connection.settimeout(20)

    def run(self) -> None:
        self.peer.hang_up("connect")
        self.say(self.script.greeting)
        self.peer.hang_up("greeting")
        while True:
            line = self.line()
            if not self.command(line):
                return

    # --- octets

    def receive(self) -> bytes:
        data = self.socket.recv(self.script.bite)
        if not data:
            raise EOFError
        if self.session.tls:
            self.session.secure += data
        else:
            self.session.clear += data
        if self.script.pause:
            time.sleep(self.script.pause)
        self.buffer += data
        return data

    def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            self.receive()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def say(self, text: str) -> None:
        if text:
            self.socket.sendall(text.replace("\n", "\r\n").encode() + b"\r\n")

    # --- commands

    def command(self, line: bytes) -> bool:
        text = line.decode("utf-8", "replace")
        match text.split(" ", 1)[0].upper():
            case "EHLO":
                self.hello()
            case "HELO":
                self.say(self.script.helo)
            case "STARTTLS":
                self.starttls()
            case "AUTH":
                self.auth(text)
            case "MAIL":
                self.peer.hang_up("mail")
                self.mail, self.rcpt = text, []
                self.say(self.script.mail)
                if not self.script.mail.startswith("2"):
                    self.mail = ""
            case "RCPT":
                self.recipient(text)
            case "DATA":
                self.data()
            case "BDAT":
                self.bdat(text)
            case "RSET":
                self.mail, self.rcpt = "", []
                self.say("250 2.0.0 reset")
            case "QUIT":
                self.say("221 2.0.0 bye")
                return False
            case _:
                self.say("500 5.5.2 what?")
        return True

    def hello(self) -> None:
        self.peer.hang_up("ehlo")
        if self.script.ehlo:
            self.say(self.script.ehlo)
            return
        offered = list(self.script.extensions)
        offers = self.script.offer_tls if self.script.offer_tls is not None else self.script.context is not None
        if offers and not self.session.tls:
            offered.append("STARTTLS")
        lines = ["peer.test", *offered]
        self.say("\n".join([f"250-{word}" for word in lines[:-1]] + [f"250 {lines[-1]}"]))

    def starttls(self) -> None:
        self.peer.hang_up("starttls")
        reply = self.script.starttls.encode() + b"\r\n"
        self.socket.sendall(reply + self.script.inject)
        if not self.script.starttls.startswith("2"):
            return
        self.peer.hang_up("handshake")
        if self.script.broken_tls or self.script.context is None:
            self.socket.recv(4096)
            self.socket.sendall(b"this is not TLS\r\n" * 20)
            raise _HangUp
        context = self.script.context
        context.sni_callback = self.sni
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.peer._open.append(self.socket)
        self.session.tls = self.socket.version() or "?"
        self.session.resumed = bool(self.socket.session_reused)
        self.session.client_certificate = self.socket.getpeercert(binary_form=True)
        self.buffer = b""

    def sni(self, connection: ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        self.session.sni = name or ""

    def auth(self, text: str) -> None:
        if text.upper() == "AUTH LOGIN":
            self.say("334 VXNlcm5hbWU6")
            self.line()
            self.say("334 UGFzc3dvcmQ6")
            self.line()
        self.say(self.script.auth)

    def recipient(self, text: str) -> None:
        self.peer.hang_up("rcpt")
        address = text[text.find("<") + 1 : text.find(">")]
        if not self.mail:
            self.say("503 5.5.1 MAIL first")
            return
        reply = self.script.rcpt.get(address, "250 2.1.5 ok")
        if self.script.most_recipients and len(self.rcpt) >= self.script.most_recipients:
            reply = self.script.too_many
        if reply.startswith("2"):
            self.rcpt.append(text)
        self.say(reply)
        if reply.startswith("421"):
            raise _HangUp

    def data(self) -> None:
        self.peer.hang_up("data")
        if not self.rcpt:
            self.say("503 5.5.1 no valid recipients")
            return
        self.say(self.script.data)
        if not self.script.data.startswith("3"):
            return
        raw = b""
        while True:
            self.peer.hang_up("content")
            raw = self.buffer
            end = 0 if raw.startswith(b".\r\n") else raw.find(b"\r\n.\r\n")
            if end >= 0:
                cut = 3 if end == 0 and raw.startswith(b".\r\n") else end + 5
                break
            self.receive()
        self.buffer = raw[cut:]
        raw = raw[:cut]
        content = raw[:-3]
        unstuffed = content.replace(b"\r\n..", b"\r\n.")
        self.take(unstuffed[1:] if unstuffed.startswith(b".") else unstuffed, raw)

    def bdat(self, text: str) -> None:
        words = text.split()
        size = int(words[1])
        while len(self.buffer) < size:
            self.peer.hang_up("content")
            self.receive()
        chunk, self.buffer = self.buffer[:size], self.buffer[size:]
        self.chunks += chunk
        if len(words) < 3:
            self.say("250 2.0.0 chunk")
            return
        content, self.chunks = self.chunks, b""
        if not self.rcpt:
            self.say("503 5.5.1 no valid recipients")
            return
        self.take(content, content)

    def take(self, content: bytes, raw: bytes) -> None:
        if self.script.final.startswith("2"):
            self.session.mails.append(Mail(self.mail, list(self.rcpt), content, raw))
        self.peer.hang_up("final")
        self.mail, self.rcpt = "", []
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        self.say(self.script.final)
        if self.script.behind_in_clear:
            os.write(self.socket.fileno(), self.script.behind)
        else:
            self.socket.sendall(self.script.behind)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        self.peer.hang_up("after")
        if self.script.idle_out and len(self.session.mails) >= self.script.idle_out:
            raise _HangUp


def reset_on_close(connection: socket.socket) -> None:
    """Make the next close a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
