"""The data of old devices that do not end lines as they should: mended, and no door for a second message.

RFC 5321 2.3.8, 4.5.2; threats 3.1. docs/devices.md says why this cannot be used to smuggle.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lockgate.wire.smtp.data import DataReader, Limits

_STUFFED = re.compile(rb"\r\n\.(?![\r\n])").sub
_MAYBE_END = re.compile(rb"(?:\r\n|\n|\r)(?:\.(?:\r\n|\n|\r)?)?\Z").search
_LONE_END = re.compile(rb"(?:\r\n|\n|\r)\.(?:\r\n|\n|\r)").fullmatch
_CRLF = b"\r\n"


class MendingReader(DataReader):
    """The octets after DATA of an old device: bare CR and LF become CRLF, and the dot may stand between them.

    CRLF.CRLF ends the data wherever it stands, as for everybody. A dot between other line ends is content, unless the
    device falls silent after it: only a driver knows that, and says so by `end_here`. A dot behind a bare line end is
    not unstuffed: who does not end lines does not stuff them either.
    """

    __slots__ = ()

    def __init__(self, write: Callable[[bytes], None], limits: Limits) -> None:
        super().__init__(write, limits, normalise=True)

    @property
    def lone_end(self) -> bool:
        """Whether the last line so far is a dot."""
        return _LONE_END(self._held) is not None

    def feed(self, data: bytes) -> bytes | None:
        """See DataReader. What may be the end is held back until it is known."""
        data = self._held + data
        end = data.find(b"\r\n.\r\n")
        if end >= 0:
            self._held = b""
            self._pass_on(data[: end + 2])
            self._checked.finish()
            return data[end + 5 :]
        tail = _MAYBE_END(data, max(0, len(data) - 5))
        at = tail.start() if tail is not None else len(data)
        self._held = data[at:]
        self._pass_on(data[:at], data[at : at + 1])
        return None

    def end_here(self) -> None:
        """The device waits for an answer: the dot was the end."""
        line_end = self._held[: self._held.index(b".")]
        self._held = b""
        self._checked.mended = True
        self._pass_on(line_end)
        self._checked.finish()

    def _pass_on(self, octets: bytes, line_end: bytes = b"") -> None:
        """These octets; `line_end` is the octet that ends their last line, if it is held back.

        It tells whether a dot at their end is a line of its own, which is content, or a stuffed one.
        """
        if not octets:
            return
        octets = _STUFFED(_CRLF, octets + line_end)[self._skip :].removesuffix(line_end)
        self._skip = 0
        self._checked.examine(octets)
        self._checked.keep(octets)
