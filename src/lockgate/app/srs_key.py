"""The secrets of rewritten senders: a file of the state directory, so that every backup has it."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile
from lockgate.flow.leading_back import WaysBack

KEY_OCTETS = 32
_LEAST = 16
_HEAD = (
    "# Secrets of rewritten senders (SRS), one a line. New addresses are made with the first one; the others still\n"
    "# open what they closed: to change it, write a new one above, and take the old one away three weeks later.\n"
)


def ways_back_of(config: OperatorFile) -> WaysBack:
    """Rewriting with this installation's secrets. Raises OSError."""
    return WaysBack(srs_secrets(config.state_directory / "srs.key"), SystemClock().now)


def srs_secrets(path: Path) -> tuple[bytes, ...]:
    """The secrets of the file, made when they are first wanted (mode 0600). Raises OSError.

    Without them, reports about mail that was sent on before find no way back any more; nothing else needs them.
    """
    for _ in (1, 2):
        with contextlib.suppress(FileNotFoundError):
            return _read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, f"{_HEAD}{secrets.token_hex(KEY_OCTETS)}\n".encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        # Linked, not renamed: of two processes that make one at the same time, the first wins.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    raise OSError(f"{path} cannot be made")


def _read(path: Path) -> tuple[bytes, ...]:
    found = []
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            secret = b""
        if len(secret) < _LEAST:
            raise OSError(f"{path}:{number}: a secret is {_LEAST} octets at least, written in hexadecimal digits")
        found.append(secret)
    if not found:
        raise OSError(f"{path} is damaged: it must hold a secret; restore it from a backup")
    return tuple(found)
