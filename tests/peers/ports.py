"""Ports that stay free until they are used: below the range from which outgoing connections take theirs."""

from __future__ import annotations

import os
import random
import re
import socket

_FIRST, _LAST, _SHARES = 10_000, 32_000, 8
_CHANCE = random.Random(os.getpid() ^ int.from_bytes(os.urandom(4)))
_GIVEN: set[int] = set()


def free_port(address: str = "127.0.0.1") -> int:
    """A port nobody listens on, that no outgoing connection will take while a service is being restarted.

    None is given twice, and processes that run tests side by side have different ones: some are used only later.
    """
    size = (_LAST - _FIRST) // _SHARES
    first = _FIRST + _share() * size
    for _ in range(10_000):
        port = _CHANCE.randrange(first, first + size)
        if port in _GIVEN:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            _GIVEN.add(port)
            return port
    raise RuntimeError("no free port was found")


def _share() -> int:
    """Which share of the ports this process has."""
    worker = re.search(r"\d+", os.environ.get("PYTEST_XDIST_WORKER", ""))
    return int(worker[0]) % _SHARES if worker is not None else _SHARES - 1
