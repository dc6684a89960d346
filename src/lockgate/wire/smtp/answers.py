"""What a server answers, cut out of the octets that come from it, within bounds.

RFC 5321 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lockgate.mail import replies
from lockgate.mail.reply import Reply

LINE_LIMIT = 4096
"""Octets of one reply line that are read (RFC 5321 4.5.3.1.5 asks for 512; servers say more)."""

REPLY_LIMIT = 128
"""Lines of one reply that are read; a server that says more is not followed."""

_MARKS = (b" ", b"-", b"")


class BadServer(Exception):
    """The server says what no SMTP server says, or more than anybody wants to hear; str() tells what, for people."""


class Answer(msgspec.Struct, frozen=True):
    """One reply as it came: the code and the text of each line, not decoded."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def good(self) -> bool:
        """2xx."""
        return 200 <= self.code < 300

    def reply(self) -> Reply:
        """The same as a noun of ours; hostile text becomes printable there."""
        return replies.parse_reply(self.code, [line.decode("utf-8", "replace") for line in self.lines])


class AnswerReader:
    """Cuts the server's octets into answers within bounds (RFC 5321 4.2).

    `trouble` tells what stands behind the answers that were given last, where that is no answer ("": nothing wrong).
    """

    __slots__ = ("_code", "_lines", "_rest", "trouble")

    def __init__(self) -> None:
        self._rest = b""
        self._code = b""
        self._lines: list[bytes] = []
        self.trouble = ""

    @property
    def empty(self) -> bool:
        """Whether nothing of a further reply has been read."""
        return not (self._rest or self._lines or self.trouble)

    @property
    def alert(self) -> bytes:
        """A TLS alert behind the last reply: a server whose TLS is out of order may send one with its 220."""
        return self._rest if self._rest.startswith(b"\x15\x03") and not (self._lines or self.trouble) else b""

    def feed(self, data: bytes) -> list[Answer]:
        """The answers that are complete now. Raises BadServer, from now on, if there is none before the trouble."""
        if self.trouble:
            raise BadServer(self.trouble)
        lines = (self._rest + data).split(b"\n") if self._rest else data.split(b"\n")
        self._rest = lines.pop()
        answers: list[Answer] = []
        try:
            self._cut(lines, answers)
            if len(self._rest) > LINE_LIMIT:
                raise BadServer("a reply line of the server does not end")
        except BadServer as trouble:
            self.trouble = str(trouble)
            # What was said before is said: a yes that is forgotten is a message that is sent a second time.
            if not answers:
                raise
        return answers

    def _cut(self, lines: Sequence[bytes], answers: list[Answer]) -> None:
        for line in lines:
            if line.endswith(b"\r"):
                line = line[:-1]
            code, mark = line[:3], line[3:4]
            if len(line) > LINE_LIMIT or not (len(code) == 3 and code.isdigit()) or mark not in _MARKS:
                raise BadServer(f"the server sent what is no SMTP reply: {replies.clean(line[:80].decode('latin-1'))}")
            if mark != b"-" and not self._lines:
                answers.append(Answer(int(code), (line[4:],)))
                continue
            if self._lines and code != self._code:
                raise BadServer("the lines of one reply of the server have different codes")
            self._lines.append(line[4:])
            if mark == b"-":
                self._code = code
                if len(self._lines) >= REPLY_LIMIT:
                    raise BadServer("a reply of the server has too many lines")
                continue
            answers.append(Answer(int(code), tuple(self._lines)))
            self._lines = []
