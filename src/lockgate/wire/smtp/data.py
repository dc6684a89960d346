"""The end of data, dot stuffing and clean line ends: the only end is CRLF.CRLF, so nothing can be smuggled.

RFC 5321 4.5.2 (transparency), 2.3.8 (lines); threats 3.1. Every check runs at the speed of C over whole chunks: the
newline decoder of `io` tells in one pass which kinds of line end were seen.
"""

from __future__ import annotations

import enum
import io
from collections.abc import Callable

from lockgate.mail.octets import SeenOctets
from lockgate.wire.smtp.dots import first_dot_line, next_dot_line

_CRLF = b"\r\n"


class Flaw(enum.Enum):
    """Why the octets cannot become a message."""

    LINE_ENDS = "bare CR, bare LF or NUL"
    TOO_LARGE = "more octets than allowed"
    LONG_LINE = "a line longer than allowed"
    NOT_KEPT = "they could not be written"


class Limits:
    """What one message may be; shared by all readers. 0 octets a line means any length."""

    __slots__ = ("line", "normalise", "size")

    def __init__(self, size: int, *, line: int = 0, normalise: bool = False) -> None:
        self.size = size
        self.line = line
        self.normalise = normalise


class Checked:
    """Octets on their way to `write`, checked; after the first flaw they are counted and thrown away.

    `size` counts octets as received (dot stuffing undone). `trouble` is what `write` raised, if it did. `eight_bit`
    tells that an octet above 127 has come; where line ends are mended, that is not looked for.
    """

    __slots__ = (
        "_column", "_limits", "_lines", "_pending_cr", "_write", "eight_bit", "flaw", "mended", "normalises", "size",
        "trouble",
    )  # fmt: skip

    def __init__(self, write: Callable[[bytes], None], limits: Limits, *, normalise: bool = False) -> None:
        self._write = write
        self._limits = limits
        self.normalises = normalise or limits.normalise
        self.mended = False
        self.eight_bit = False
        self._lines = io.IncrementalNewlineDecoder(None, translate=False)
        self._pending_cr = False
        self._column = 0
        self.size = 0
        self.flaw: Flaw | None = None
        self.trouble: Exception | None = None

    def examine(self, raw: bytes, *, final: bool = False) -> None:
        """Look at the octets as they came over the wire."""
        if self.flaw is not None:
            return
        limits = self._limits
        if b"\0" in raw:
            self.flaw = Flaw.LINE_ENDS
            return
        if not self.normalises:
            text = raw.decode("latin-1")
            if not text.isascii():
                self.eight_bit = True
            self._lines.decode(text, final)
            if self._lines.newlines not in (None, "\r\n"):
                self.flaw = Flaw.LINE_ENDS
                return
        if limits.line and self._too_long(raw, limits.line):
            self.flaw = Flaw.LONG_LINE

    def keep(self, octets: bytes) -> None:
        """Hand octets on to the writer."""
        self.size += len(octets)
        if self.flaw is not None:
            return
        if self.size > self._limits.size:
            self.flaw = Flaw.TOO_LARGE
            return
        if self.normalises:
            octets = self._normalised(octets)
        if octets:
            try:
                self._write(octets)
            except Exception as trouble:
                self.flaw, self.trouble = Flaw.NOT_KEPT, trouble

    def finish(self) -> None:
        """There is no more."""
        self.examine(b"", final=True)
        if self._pending_cr and self.flaw is None:
            self.mended = True
            self.keep(b"\n")

    def seen(self, *, dotted: bool) -> SeenOctets | None:
        """What is known of the octets that were kept; None where they are not those that came."""
        return None if self.normalises else SeenOctets(self.eight_bit, dotted)

    def _normalised(self, octets: bytes) -> bytes:
        """Every bare CR and bare LF becomes CRLF; a CR at the end waits for what follows."""
        if self._pending_cr:
            octets = b"\r" + octets
        self._pending_cr = octets.endswith(b"\r")
        if self._pending_cr:
            octets = octets[:-1]
        clean = octets.replace(_CRLF, b"\n").replace(b"\r", b"\n").replace(b"\n", _CRLF)
        self.mended = self.mended or clean != octets
        return clean

    def _too_long(self, raw: bytes, limit: int) -> bool:
        """Jump from line end to line end: within `limit` octets there has to be one."""
        at, size = -self._column, len(raw)
        while size - at > limit:
            end = raw.rfind(b"\n", max(at, 0), at + limit)
            if end < 0:
                return True
            at = end + 1
        end = raw.rfind(b"\n", max(at, 0))
        self._column = size - (end + 1 if end >= 0 else at)
        return False


class DataReader:
    """The octets after DATA, until the one line that is a dot."""

    __slots__ = ("_checked", "_dotted", "_held", "_skip")

    def __init__(self, write: Callable[[bytes], None], limits: Limits, *, normalise: bool = False) -> None:
        self._checked = Checked(write, limits, normalise=normalise)
        self._dotted = False
        # The first line may be the dot: the CRLF before it is that of the DATA command.
        self._held = _CRLF
        self._skip = len(_CRLF)

    @property
    def size(self) -> int:
        """Octets of the message so far."""
        return self._checked.size

    @property
    def mended(self) -> bool:
        """Whether bare line ends became CRLF."""
        return self._checked.mended

    @property
    def seen(self) -> SeenOctets | None:
        """What is known of them, once they have ended."""
        return self._checked.seen(dotted=self._dotted)

    @property
    def flaw(self) -> Flaw | None:
        """What is wrong with them, once something is."""
        return self._checked.flaw

    @property
    def trouble(self) -> Exception | None:
        """What the writer raised (flaw NOT_KEPT)."""
        return self._checked.trouble

    def feed(self, data: bytes) -> bytes | None:
        """Take octets; None while the message goes on, else what followed its end (often b"")."""
        if self._held:
            data = self._held + data
            self._held = b""
        at = first_dot_line(data)
        if at < 0:
            self._emit(data, self._hold_back(data), ())
            return None
        dots: list[int] = []
        while at >= 0:
            after = data[at + 3 : at + 5]
            if after == _CRLF:
                self._emit(data, at + 2, dots)
                self._checked.finish()
                return data[at + 5 :]
            if not after or after == b"\r":
                self._emit(data, at, dots)
                self._held = data[at:]
                return None
            dots.append(at + 2)
            at = next_dot_line(data, at + 3)
        self._emit(data, self._hold_back(data), dots)
        return None

    def _hold_back(self, data: bytes) -> int:
        """Where the octets begin that may belong to the end of data; they wait for the next chunk."""
        tail = data[-2:]
        keep = len(data) - (2 if tail == _CRLF else 1 if tail.endswith(b"\r") else 0)
        self._held = data[keep:]
        return keep

    def _emit(self, data: bytes, end: int, dots: list[int] | tuple[()]) -> None:
        """Pass on data[:end] without the stuffed dots."""
        checked, start = self._checked, self._skip
        if end <= start:
            # Only the CRLF of the command itself so far; it must not be seen twice.
            self._skip = start - end if end > 0 else start
            return
        self._skip = 0
        raw = data if start == 0 and end == len(data) else data[start:end]
        checked.examine(raw)
        if not dots:
            checked.keep(raw)
            return
        self._dotted = True
        pieces: list[bytes] = []
        for dot in dots:
            pieces.append(data[start:dot])
            start = dot + 1
        pieces.append(data[start:end])
        checked.keep(b"".join(pieces))


class ChunkReader:
    """The octets of BDAT chunks: counted, not searched (RFC 3030)."""

    __slots__ = ("_checked",)

    def __init__(self, write: Callable[[bytes], None], limits: Limits, *, normalise: bool = False) -> None:
        self._checked = Checked(write, limits, normalise=normalise)

    @property
    def size(self) -> int:
        """Octets of the message so far."""
        return self._checked.size

    @property
    def mended(self) -> bool:
        """Whether bare line ends became CRLF."""
        return self._checked.mended

    @property
    def seen(self) -> SeenOctets | None:
        """What is known of them, once they have ended: not where their lines begin."""
        return self._checked.seen(dotted=True)

    @property
    def flaw(self) -> Flaw | None:
        """What is wrong with them, once something is."""
        return self._checked.flaw

    @property
    def trouble(self) -> Exception | None:
        """What the writer raised (flaw NOT_KEPT)."""
        return self._checked.trouble

    def feed(self, data: bytes) -> None:
        """Take octets of a chunk."""
        self._checked.examine(data)
        self._checked.keep(data)

    def finish(self) -> None:
        """The last chunk is complete."""
        self._checked.finish()
