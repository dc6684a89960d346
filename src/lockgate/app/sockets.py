"""Listening sockets: opened once by the supervisor, one per worker slot, so that a worker's death resets nobody."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_BACKLOG = 1024

_ATTACH_REUSEPORT_CBPF = 51
"""SO_ATTACH_REUSEPORT_CBPF of Linux, which Python does not name."""

_DRAW, _MODULO, _UNLESS, _ANSWER = 0x20, 0x94, 0x15, 0x06
"""Load a word, remainder by a constant, jump by comparison, return a constant (linux/filter.h)."""

_CHANCE = 0xFFFFF038
"""Where a word of chance is loaded from: SKF_AD_OFF + SKF_AD_RANDOM."""


class CannotListen(Exception):
    """An address cannot be listened on; the message says which and why."""


class Listening(NamedTuple):
    """One listener with its sockets: `sockets[slot]` belongs to that worker; `port` is the real one (never 0)."""

    address: str
    port: int
    sockets: tuple[socket.socket, ...]

    @property
    def name(self) -> str:
        """Address and port as people write them."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def open_listeners(wanted: Sequence[tuple[str, int]], slots: int) -> tuple[Listening, ...]:
    """Open every (address, port) once per slot; port 0 takes a free one. Raises CannotListen, and then none is open."""
    opened: list[Listening] = []
    try:
        for address, port in wanted:
            opened.append(_open(address, port, slots))
    except CannotListen:
        close_listeners(opened)
        raise
    return tuple(opened)


def close_listeners(opened: Iterable[Listening]) -> None:
    """Close what this process has of them; the kernel takes connections until the last process has."""
    for listening in opened:
        for one in listening.sockets:
            one.close()


def direct(opened: Iterable[Listening], slots: Sequence[int]) -> bool:
    """New connections go to these slots from now on, by chance; those that are open stay where they are.

    The kernel asks a small program for the number of the socket (socket(7), SO_ATTACH_REUSEPORT_CBPF). One that knows
    no such programs goes on spreading connections over all slots, which is right as well; False tells that.
    """
    steps = [(_DRAW, 0, _CHANCE), (_MODULO, 0, len(slots))]
    for number, slot in enumerate(slots):
        steps += [(_UNLESS, 1, number), (_ANSWER, 0, slot)]  # unless it is this number, go on behind the answer
    steps.append((_ANSWER, 0, slots[0]))  # never come to; a program has to end with an answer
    packed = b"".join(struct.pack("HBBI", code, 0, skip, value) for code, skip, value in steps)
    program = ctypes.create_string_buffer(packed)
    filtering = struct.pack("HP", len(steps), ctypes.addressof(program))
    try:
        for listening in opened:
            listening.sockets[0].setsockopt(socket.SOL_SOCKET, _ATTACH_REUSEPORT_CBPF, filtering)
    except OSError:
        return False
    return True


def _open(address: str, port: int, slots: int) -> Listening:
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    sockets: list[socket.socket] = []
    try:
        _must_be_free(family, address, port)
        for _ in range(slots):
            one = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address, port))
            port = one.getsockname()[1]
        for one in sockets:
            # Only now: a port taken by somebody else is found before the first connection can arrive.
            one.listen(_BACKLOG)
            one.settimeout(0)
    except OSError as trouble:
        for one in sockets:
            one.close()
        raise CannotListen(f"cannot listen on {address} port {port}: {trouble.strerror or trouble}") from None
    return Listening(address, port, tuple(sockets))


def _must_be_free(family: socket.AddressFamily, address: str, port: int) -> None:
    """SO_REUSEPORT would let two services of one user share a port unnoticed; without it the second bind fails."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Else the probe for :: would meet our own listener for 0.0.0.0 of the same port.
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind((address, port))
