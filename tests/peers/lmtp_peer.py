"""A mailbox store that speaks LMTP (RFC 2033) as its script says: partial success, and death in the midst of it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ALL = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 50000000", "CHUNKING")


@dataclass(frozen=True)
class Store:
    """`rcpt` and `final` give the answer for single addresses, at RCPT and after the content.

    `dies_after` answers to the content the connection is dropped, `deaths` times in all; `pause` seconds are between
    two of these answers. With `context` STARTTLS is offered, and after it nothing but the same again.
    """

    extensions: tuple[str, ...] = ALL
    rcpt: Mapping[str, str] = field(default_factory=dict)
    final: Mapping[str, str] = field(default_factory=dict)
    data: str = "354 go"
    dies_after: int = -1
    deaths: int = 1
    pause: float = 0.0
    context: ssl.SSLContext | None = None


class LmtpPeer:
    """Listens on loopback, or on a Unix socket; a context manager. `kept` lists (recipient, content) as delivered."""

    def __init__(self, store: Store | None = None, path: Path | None = None) -> None:
        self.store = store or Store()
        self.kept: list[tuple[str, bytes]] = []
        self.commands: list[str] = []
        self.connections = 0
        self._deaths = 0
        if path is None:
            self._socket = socket.create_server(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        else:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(str(path))
            self._socket.listen()
            self.host = f"unix:{path}"
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> LmtpPeer:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        with contextlib.suppress(OSError, EOFError), connection, connection.makefile("rb") as lines:
            _Talk(self, connection, lines).run()


class _Talk:
    def __init__(self, peer: LmtpPeer, connection: socket.socket, lines) -> None:
        self.peer = peer
        self.store = peer.store
        self.connection = connection
        self.lines = lines
        self.people: list[str] = []

    def say(self, *texts: str) -> None:
        self.connection.sendall("".join(f"{text}\r\n" for text in texts).encode())

    def run(self) -> None:
        self.say("220 store.test LMTP")
        while line := self.lines.readline():  # `lines` is another one after STARTTLS
            text = line.decode("utf-8", "replace").rstrip()
            self.peer.commands.append(text)
            if not self.command(text):
                return

    def command(self, text: str) -> bool:
        match text.partition(" ")[0].upper():
            case "LHLO":
                words = ["store.test", *self.store.extensions]
                if self.store.context is not None and not isinstance(self.connection, ssl.SSLSocket):
                    words.append("STARTTLS")
                self.say(*[f"250-{word}" for word in words[:-1]], f"250 {words[-1]}")
            case "STARTTLS" if self.store.context is not None:
                self.say("220 2.0.0 go")
                self.connection = self.store.context.wrap_socket(self.connection, server_side=True)
                self.lines = self.connection.makefile("rb")
            case "MAIL" | "RSET":
                self.people = []
                self.say("250 2.1.0 ok")
            case "RCPT":
                address = text[text.find("<") + 1 : text.find(">")]
                answer = self.store.rcpt.get(address, "250 2.1.5 ok")
                if answer.startswith("2"):
                    self.people.append(address)
                self.say(answer)
            case "DATA":
                self.data()
            case "BDAT":
                self.answered(self.lines.read(int(text.split()[1])))
            case "QUIT":
                self.say("221 2.0.0 bye")
                return False
            case _:  # EHLO and HELO too: this is no SMTP server
                self.say("500 5.5.1 what?")
        return True

    def data(self) -> None:
        if not self.people:
            self.say("503 5.5.1 no recipients")
            return
        self.say(self.store.data)
        if not self.store.data.startswith("3"):
            return
        content = b""
        while (line := self.lines.readline()) != b".\r\n":
            content += line.removeprefix(b".")
        self.answered(content)

    def answered(self, content: bytes) -> None:
        if not self.people:
            self.say("503 5.5.1 no recipients")
        for number, address in enumerate(self.people):
            if number == self.store.dies_after and self.peer._deaths < self.store.deaths:
                self.peer._deaths += 1
                raise EOFError
            time.sleep(self.store.pause)
            answer = self.store.final.get(address, f"250 2.0.0 <{address}> saved")
            if answer.startswith("2"):
                self.peer.kept.append((address, content))
            self.say(answer)
        self.people = []
