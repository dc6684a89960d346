"""A way to the service on which whoever connects seems to come from an address of the test's choice (PROXY)."""

from __future__ import annotations

import contextlib
import socket
import threading

from peers.client import proxy_header


class SeenFrom:
    """Listens on loopback and passes octets on to `port`, behind a PROXY header for `peer`; a context manager.

    For real servers as peers, which have no address but loopback here.
    """

    def __init__(self, peer: str, port: int) -> None:
        self._header = proxy_header(peer)
        self._to = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> SeenFrom:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._socket, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _listen(self) -> None:
        while True:
            try:
                here, _ = self._socket.accept()
                there = socket.create_connection(("127.0.0.1", self._to), 20)
            except OSError:
                return
            self._open += [here, there]
            there.sendall(self._header)
            for source, target in ((here, there), (there, here)):
                threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        source.settimeout(60)
        while octets := source.recv(65536):
            target.sendall(octets)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
