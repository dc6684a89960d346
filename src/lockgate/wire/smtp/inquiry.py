"""The client's side of asking whether a recipient would be taken: MAIL, RCPT, and never any content.

The next transaction on the connection begins with RSET (RFC 5321 4.1.1.5), which forgets what was asked here.
"""

from __future__ import annotations

from lockgate.wire.smtp.answers import Answer, BadServer
from lockgate.wire.smtp.client import CLOSING, Phase


class Inquiry:
    """One question on a ready connection, one command at a time; drives like `client.Transaction`.

    `mail` given is the command that names the sender. When `phase` is DONE: `mail` is the answer to MAIL, `rcpt` that
    to RCPT; None where the server hung up before.
    """

    __slots__ = ("_mail", "_rcpt", "_reset", "closing", "mail", "phase", "rcpt", "unclean")

    def __init__(self, rcpt: bytes, *, reset: bool = False, mail: bytes = b"MAIL FROM:<>\r\n") -> None:
        self._mail = mail
        self._rcpt = rcpt
        self._reset = reset
        self.phase = Phase.MAIL
        self.mail: Answer | None = None
        self.rcpt: Answer | None = None
        self.closing = False
        self.unclean = False

    def begin(self) -> bytes:
        """The first octets."""
        return b"RSET\r\n" if self._reset else self._mail

    def answer(self, answer: Answer) -> bytes:
        """Take one reply; what to write now."""
        if answer.code == CLOSING:
            self.closing = True
            self.phase = Phase.DONE
            self.unclean = True
            return b""
        match self.phase:
            case Phase.MAIL if self._reset:
                self._reset = False
                return self._mail
            case Phase.MAIL:
                self.mail = answer
                if answer.good:
                    self.phase = Phase.RCPT
                    return self._rcpt
                self.phase = Phase.DONE
                return b""
            case Phase.RCPT:
                self.rcpt = answer
                self.unclean = True
                self.phase = Phase.DONE
                return b""
            case _:
                raise BadServer("the server spoke out of turn")
