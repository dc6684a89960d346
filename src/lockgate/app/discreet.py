"""Log lines without what an organisation wants hidden, and the secret by which hidden addresses are found again."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from lockgate.app.lines import cleaned
from lockgate.mail.redaction import Discretion, Redactor, strictest
from lockgate.seams import Journal

KEY_OCTETS = 32

_ADDRESSES = frozenset({"to", "sender", "recipient", "from"})
_WORDS = frozenset({"reply", "because", "trouble", "why"})


def trace_key(path: Path) -> bytes:
    """The secret of this installation for hidden addresses, made when it is first wanted (mode 0600).

    Without it, rows that were hidden before cannot be found by address any more; nothing else needs it.
    Raises OSError.
    """
    for _ in (1, 2):
        with contextlib.suppress(FileNotFoundError):
            key = path.read_bytes()
            if len(key) < KEY_OCTETS:
                raise OSError(f"{path} is damaged: it must hold {KEY_OCTETS} octets; restore it from a backup")
            return key
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, secrets.token_bytes(KEY_OCTETS))
            os.fsync(fd)
        finally:
            os.close(fd)
        # Linked, not renamed: of two processes that make one at the same time, the first wins.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    raise OSError(f"{path} cannot be made")


class DiscreetJournal:
    """seams.Journal that hides what the organisation of a line wants hidden; the line says whose it is.

    Either by `organisation` (several: separated by commas) or by its `lane`; without both it is nobody's, for which the
    strictest wishes hold.
    """

    def __init__(self, journal: Journal, discretion: Discretion) -> None:
        self._journal = journal
        self._discretion = discretion

    def note(self, happening: str, **details: object) -> None:
        """See Journal."""
        self._journal.note(happening, **self._as_wished(details))

    def alarm(self, happening: str, **details: object) -> None:
        """See Journal."""
        self._journal.alarm(happening, **self._as_wished(details))

    def _as_wished(self, details: dict[str, object]) -> dict[str, object]:
        names = details.get("organisation")
        if names is None:
            names = str(details.get("lane", "")).partition("/")[0]
        text = str(names)
        # Mostly it is one organisation's line, and each line costs a message something.
        redactor = strictest(self._discretion, text.split(",")) if "," in text else self._discretion(text)
        return details if redactor is None else {n: _hidden(n, value, redactor) for n, value in details.items()}


def _hidden(name: str, value: object, redactor: Redactor) -> object:
    if name in _ADDRESSES:
        return redactor.address(str(value))
    if name in _WORDS and value is not None:
        return redactor.text(cleaned(value))
    return value
