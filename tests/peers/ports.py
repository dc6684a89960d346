"""Ports that stay free until they are used: below the range from which outgoing connections take theirs."""

from __future__ import annotations

import os
import random
import socket

_CHANCE = random.Random(os.getpid() ^ int.from_bytes(os.urandom(4)))


def free_port(address: str = "127.0.0.1") -> int:
    """A port nobody listens on, that no outgoing connection will take while a service is being restarted."""
    for _ in range(1000):
        port = _CHANCE.randrange(10000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port was found")
