"""Asks the desk of the running service, over its control socket."""

from __future__ import annotations

import socket
from pathlib import Path

from lockgate.flow.asking import LONGEST_FRAME, PREFIX, Answer, NotUnderstood, Request, read_answer, write_frame

PATIENCE = 120.0
"""Seconds until an answer is given up."""


class NotReachable(Exception):
    """Nobody answers on the control socket; the message says what to look at."""


def ask(control: Path, request: Request, patience: float = PATIENCE) -> Answer:
    """Send one request and wait for its answer. Raises NotReachable."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(patience)
            sock.connect(str(control))
            sock.sendall(write_frame(request))
            length = int.from_bytes(_exactly(sock, PREFIX), "big")
            if length > LONGEST_FRAME:
                raise NotReachable(f"what answers on {control} is not Lockgate")
            return read_answer(_exactly(sock, length))
    except FileNotFoundError:
        raise NotReachable(f"Lockgate does not run here: there is no socket {control}") from None
    except ConnectionRefusedError:
        raise NotReachable(f"Lockgate does not run: nobody listens on {control}") from None
    except PermissionError:
        raise NotReachable(f"your account may not use {control}") from None
    except (OSError, NotUnderstood) as trouble:
        raise NotReachable(f"no answer from {control}: {trouble}") from None


def _exactly(sock: socket.socket, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        data = sock.recv(min(count, 1 << 20))
        if not data:
            raise NotUnderstood("the connection ended before the answer did")
        parts.append(data)
        count -= len(data)
    return b"".join(parts)
