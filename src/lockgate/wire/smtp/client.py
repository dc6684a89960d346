"""The client's side of an SMTP or LMTP conversation: answers in, commands out, no socket.

RFC 5321, 2920, 3030, 3207; RFC 2033 for LMTP.
"""

from __future__ import annotations

import base64
import enum
import re
from collections.abc import Callable, Sequence

import msgspec

from lockgate.mail import replies
from lockgate.mail.envelope import Body, Envelope
from lockgate.mail.hop import CargoRecipient
from lockgate.wire.smtp.answers import Answer, BadServer
from lockgate.wire.smtp.dots import first_dot_line
from lockgate.wire.smtp.grammar import xtext

CLOSING = replies.SHUTTING_DOWN.code
TOO_MANY = replies.TOO_MANY_RECIPIENTS.code
FULL = 552
"""Storage is exceeded; of old also that there are too many recipients."""


class Capabilities(msgspec.Struct, frozen=True):
    """What the server offers after EHLO. `size` in octets, 0: no bound told (RFC 1870)."""

    pipelining: bool = False
    chunking: bool = False
    eight_bit: bool = False
    utf8: bool = False
    dsn: bool = False
    starttls: bool = False
    require_tls: bool = False
    sizes: bool = False
    size: int = 0
    logins: tuple[str, ...] = ()


def read_capabilities(lines: Sequence[bytes]) -> Capabilities:
    """The lines of an EHLO reply, the greeting line first (RFC 5321 4.1.1.1); what is not known is left out."""
    words: dict[str, list[str]] = {}
    for line in lines[1:]:
        keyword, *rest = line.decode("ascii", "replace").upper().replace("AUTH=", "AUTH ", 1).split() or [""]
        words.setdefault(keyword, []).extend(rest)
    size = words.get("SIZE", [])
    return Capabilities(
        pipelining="PIPELINING" in words,
        chunking="CHUNKING" in words,
        eight_bit="8BITMIME" in words,
        utf8="SMTPUTF8" in words,
        dsn="DSN" in words,
        starttls="STARTTLS" in words,
        require_tls="REQUIRETLS" in words,
        sizes="SIZE" in words,
        size=int(size[0]) if size and size[0].isascii() and size[0].isdigit() and len(size[0]) < 20 else 0,
        logins=tuple(words.get("AUTH", ())),
    )


# --- commands ------------------------------------------------------------------------------------------------------


def writable(address: str) -> bool:
    """Whether an address can stand in a command: no control character, no line end, nothing a parser stumbles over."""
    if not address.isprintable():
        return False
    return address.startswith('"') or not (" " in address or "<" in address or ">" in address)


def mail_command(envelope: Envelope, offered: Capabilities, size: int, *, eight_bit: bool, utf8: bool) -> bytes:
    """MAIL with the parameters that the server offers. Raises ValueError if the sender cannot be written."""
    sender = envelope.sender_text
    if not writable(sender):
        raise ValueError("the sender's address cannot be written in a command")
    words = [f"MAIL FROM:<{sender}>"]
    if offered.sizes:
        words.append(f"SIZE={size}")
    if offered.eight_bit and (eight_bit or envelope.body is not Body.SEVEN_BIT):
        words.append("BODY=8BITMIME")
    if utf8:
        words.append("SMTPUTF8")
    if envelope.require_tls and offered.require_tls:
        words.append("REQUIRETLS")
    if offered.dsn:
        if envelope.ret in ("FULL", "HDRS"):
            words.append(f"RET={envelope.ret}")
        if envelope.envid and envelope.envid.isascii():
            words.append(f"ENVID={xtext(envelope.envid)}")
    return (" ".join(words) + "\r\n").encode()


def rcpt_command(recipient: CargoRecipient, offered: Capabilities) -> bytes:
    """RCPT with its DSN parameters. Raises ValueError if the address cannot be written.

    `orcpt` is "type;address" with the address decoded; here it becomes xtext again (RFC 3461 4.2).
    """
    if not writable(recipient.address):
        raise ValueError("the recipient's address cannot be written in a command")
    line = f"RCPT TO:<{recipient.address}>"
    if offered.dsn:
        if recipient.notify:
            line += f" NOTIFY={','.join(recipient.notify)}"
        kind, _, address = recipient.orcpt.partition(";") if recipient.orcpt else ("", "", "")
        # An internationalised original recipient can be told only to a server that knows such (RFC 6533 3).
        if address and kind.replace("-", "").isalnum() and kind.isascii() and (address.isascii() or offered.utf8):
            line += f" ORCPT={kind};{xtext(address)}"
    return f"{line}\r\n".encode()


def stuffed(content: bytes, *, dotted: bool = True) -> bytes:
    """The content as DATA carries it, with its final dot (RFC 5321 4.5.2).

    `dotted` tells that a line may begin with a dot. Where none does, it is copied once.
    """
    if dotted and first_dot_line(content) >= 0:
        content = content.replace(b"\r\n.", b"\r\n..")
    start = b"." if content.startswith(b".") else b""
    end = b".\r\n" if content.endswith(b"\r\n") or not content else b"\r\n.\r\n"
    return b"".join((start, content, end))


# --- from the greeting to the first transaction --------------------------------------------------------------------


class TlsUse(enum.Enum):
    """What to do about STARTTLS."""

    NEVER = "never"
    IF_OFFERED = "if offered"
    ALWAYS = "always"


class Phase(enum.Enum):
    """What is being waited for; each has its deadline (RFC 5321 4.5.3.2)."""

    GREETING = "greeting"
    HELLO = "hello"
    STARTTLS = "starttls"
    HANDSHAKE = "handshake"
    LOGIN = "login"
    READY = "ready"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    FINAL = "final"
    DONE = "done"

    # There is one object for each; that of Enum hashes the name, in Python, several times a message.
    __hash__ = object.__hash__


class Trouble(enum.Enum):
    """Why no transaction can begin on this connection."""

    REFUSED = "refused"
    TLS_MISSING = "tls missing"
    TLS_REFUSED = "tls refused"
    INJECTED = "injected"
    LOGIN_IMPOSSIBLE = "login impossible"
    LOGIN_REFUSED = "login refused"


class Opening:
    """One connection from the greeting to readiness. Nothing beyond EHLO and STARTTLS is said in clear if TLS is due.

    `answer` takes each reply and gives what to write. At Phase.HANDSHAKE the caller makes TLS and then calls
    `secured`. `trouble` is set when it ends badly; `last` is the answer that ended it. `lmtp`: the server is a store.
    """

    __slots__ = ("_hello", "_helo", "_login", "_steps", "_tls", "last", "offered", "phase", "secure", "trouble")

    def __init__(
        self, helo: str, tls: TlsUse, login: tuple[str, str] | None = None, *, lmtp: bool = False
    ) -> None:
        if not helo.isprintable() or not helo.isascii() or " " in helo:
            raise ValueError("the HELO name cannot be written in a command")
        self._helo = helo
        self._hello = "LHLO" if lmtp else "EHLO"
        self._tls = tls
        self._login = login
        self._steps: list[bytes] = []
        self.phase = Phase.GREETING
        self.offered = Capabilities()
        self.secure = False
        self.trouble: Trouble | None = None
        self.last: Answer | None = None

    def answer(self, answer: Answer, *, alone: bool) -> bytes:
        """Take one reply (`alone`: nothing more has been received behind it); what to write now."""
        self.last = answer
        match self.phase:
            case Phase.GREETING:
                return self._say_hello() if answer.good else self._end(Trouble.REFUSED)
            case Phase.HELLO:
                return self._greeted(answer)
            case Phase.STARTTLS:
                return self._tls_agreed(answer, alone=alone)
            case Phase.LOGIN:
                return self._login_step(answer)
            case _:
                raise BadServer("the server spoke out of turn")

    def secured(self) -> bytes:
        """The handshake is over: what was learned in clear is forgotten (RFC 3207 4.2)."""
        self.secure = True
        self.offered = Capabilities()
        return self._say_hello()

    def _say_hello(self) -> bytes:
        self.phase = Phase.HELLO
        return f"{self._hello} {self._helo}\r\n".encode()

    def _end(self, trouble: Trouble) -> bytes:
        self.trouble = trouble
        self.phase = Phase.DONE
        return b"" if self.last is not None and self.last.code == CLOSING else b"QUIT\r\n"

    def _greeted(self, answer: Answer) -> bytes:
        if not answer.good:
            # RFC 5321 3.2: an old server knows HELO only; never where TLS is due, because HELO offers none.
            if answer.code >= 500 and self._hello == "EHLO" and (self._tls is not TlsUse.ALWAYS or self.secure):
                self._hello = "HELO"
                return self._say_hello()
            return self._end(Trouble.REFUSED)
        self.offered = Capabilities() if self._hello == "HELO" else read_capabilities(answer.lines)
        if not self.secure:
            if self.offered.starttls and self._tls is not TlsUse.NEVER:
                self.phase = Phase.STARTTLS
                return b"STARTTLS\r\n"
            if self._tls is TlsUse.ALWAYS:
                return self._end(Trouble.TLS_MISSING)
        return self._begin_login() if self._login is not None else self._ready()

    def _ready(self) -> bytes:
        self.phase = Phase.READY
        return b""

    def _tls_agreed(self, answer: Answer, *, alone: bool) -> bytes:
        if answer.good:
            # What follows the 220 in clear was put there by somebody in between (RFC 3207 6).
            if not alone:
                return self._end(Trouble.INJECTED)
            self.phase = Phase.HANDSHAKE
            return b""
        if self._tls is TlsUse.ALWAYS or answer.code == CLOSING:
            return self._end(Trouble.TLS_REFUSED)
        return self._begin_login() if self._login is not None else self._ready()

    def _begin_login(self) -> bytes:
        user, secret = self._login or ("", "")
        # A password is never said in clear, whatever the server offers.
        if self.secure and "PLAIN" in self.offered.logins:
            first = b"AUTH PLAIN " + base64.b64encode(f"\0{user}\0{secret}".encode()) + b"\r\n"
        elif self.secure and "LOGIN" in self.offered.logins:
            self._steps = [base64.b64encode(word.encode()) + b"\r\n" for word in (secret, user)]
            first = b"AUTH LOGIN\r\n"
        else:
            return self._end(Trouble.LOGIN_IMPOSSIBLE)
        self.phase = Phase.LOGIN
        return first

    def _login_step(self, answer: Answer) -> bytes:
        if answer.good:
            return self._ready()
        if 300 <= answer.code < 400 and self._steps:
            return self._steps.pop()
        return self._end(Trouble.LOGIN_REFUSED)


_NOT_OF_NUMBER = re.compile(r"5\.(2\.\d+|3\.4)").fullmatch
"""Enhanced codes of a mailbox that is full and of a message that is too large (RFC 3463 3.3, 3.4)."""


def _of_number(answer: Answer) -> Answer:
    """A 552 to a recipient behind others that were taken is as 452: so many were enough (RFC 5321 4.5.3.1.10).

    Unless its enhanced code says that it speaks of something else.
    """
    if _NOT_OF_NUMBER(answer.reply().enhanced):
        return answer
    return Answer(TOO_MANY, tuple([b"4" + line[1:] if line.startswith(b"5.") else line for line in answer.lines]))


# --- one transaction -----------------------------------------------------------------------------------------------


class Transaction:
    """One message on a ready connection; with PIPELINING all commands leave in one go (RFC 2920).

    `begin` and `answer` give what to write; `exposed` is True from the moment content is handed out: if the
    connection breaks afterwards, nobody knows whether the server has taken the message. `accepted` tells, when
    `phase` is DONE, for each recipient the answer that decided, in `verdicts()`.

    With `each` the server is an LMTP store: after the content it gives one answer for each recipient it has taken, in
    their order (RFC 2033 4.2), and `each` is told place and answer in the instant in which it is read.
    """

    __slots__ = (
        "_awaiting", "_chunking", "_content", "_dotted", "_each", "_finals", "_mail", "_pipelining", "_rcpts", "_reset",
        "_taken", "closing", "data", "exposed", "final", "given", "mail", "phase", "unclean",
    )  # fmt: skip

    def __init__(
        self,
        mail: bytes,
        rcpts: Sequence[bytes],
        content: bytes,
        offered: Capabilities,
        *,
        reset: bool = False,
        each: Callable[[int, Answer], None] | None = None,
        dotted: bool = True,
    ) -> None:
        self._mail = mail
        self._rcpts = rcpts
        self._content = content
        self._dotted = dotted
        self._chunking = offered.chunking
        self._pipelining = offered.pipelining
        self._reset = reset
        self._awaiting = 0
        self._each = each
        self._taken: list[int] = []
        self._finals: dict[int, Answer] = {}
        self.phase = Phase.MAIL
        self.mail: Answer | None = None
        self.given: list[Answer] = []
        self.data: Answer | None = None
        self.final: Answer | None = None
        self.exposed = False
        self.closing = False
        self.unclean = False

    def begin(self) -> bytes:
        """The first octets."""
        reset = b"RSET\r\n" if self._reset else b""
        if not self._pipelining:
            return reset or self._mail
        return b"".join((reset, self._mail, *self._rcpts, b"" if self._chunking else b"DATA\r\n"))

    def answer(self, answer: Answer) -> bytes:
        """Take one reply; what to write now."""
        if answer.code == CLOSING:
            # The server hangs up whatever it was asked (RFC 5321 3.8).
            self.closing = True
        match self.phase:
            case Phase.MAIL if self._reset:
                self._reset = False
                return b"" if self._pipelining else self._mail
            case Phase.MAIL:
                return self._sender_answered(answer)
            case Phase.RCPT:
                return self._recipient_answered(answer)
            case Phase.DATA:
                return self._data_answered(answer)
            case Phase.FINAL:
                return self._content_answered(answer)
            case _:
                raise BadServer("the server spoke out of turn")

    def verdicts(self) -> list[Answer | None]:
        """The deciding answer for each recipient in order; None: taken by the server until the connection broke."""
        if self.mail is None or not self.mail.good:
            return [self.mail] * len(self._rcpts)
        whole = self.data if self.data is not None or self._each is not None else self.final
        given = [
            self._finals.get(place, whole) if answer.good else answer for place, answer in enumerate(self.given)
        ]
        rest = self.given[-1] if self.closing and self.given and not self.given[-1].good else None
        return given + [rest] * (len(self._rcpts) - len(given))

    def _done(self, *, unclean: bool) -> bytes:
        self.phase = Phase.DONE
        self.unclean = unclean
        return b""

    def _sender_answered(self, answer: Answer) -> bytes:
        self.mail = answer
        self.phase = Phase.RCPT
        if self.closing:
            return self._done(unclean=True)
        if self._pipelining:
            return b""
        return self._rcpts[0] if answer.good else self._done(unclean=False)

    def _recipient_answered(self, answer: Answer) -> bytes:
        if answer.code == FULL and self._any():
            answer = _of_number(answer)
        self.given.append(answer)
        if self.closing:
            return self._done(unclean=True)
        if len(self.given) < len(self._rcpts):
            return b"" if self._pipelining else self._rcpts[len(self.given)]
        if self._pipelining and not self._chunking:
            self.phase = Phase.DATA
            return b""
        if not self._any():
            return self._done(unclean=self.mail is not None and self.mail.good)
        if self._chunking:
            return self._hand_out(b"BDAT %d LAST\r\n%b" % (len(self._content), self._content))
        self.phase = Phase.DATA
        return b"DATA\r\n"

    def _any(self) -> bool:
        return self.mail is not None and self.mail.good and any(answer.good for answer in self.given)

    def _content_answered(self, answer: Answer) -> bytes:
        self.final = answer
        if self._each is not None and self._taken:
            place = self._taken[len(self._finals)]
            if self.closing:
                # The store leaves: it speaks for all it has not answered yet, and has taken none of them.
                self._finals.update((one, answer) for one in self._taken if one not in self._finals)
            else:
                self._finals[place] = answer
                self._each(place, answer)
                if len(self._finals) < len(self._taken):
                    return b""
        self.phase = Phase.DONE
        return b""

    def _hand_out(self, octets: bytes) -> bytes:
        self.exposed = True
        self._taken = [place for place, answer in enumerate(self.given) if answer.good]
        self.phase = Phase.FINAL
        return octets

    def _data_answered(self, answer: Answer) -> bytes:
        if 300 <= answer.code < 400:
            if self._any():
                return self._hand_out(stuffed(self._content, dotted=self._dotted))
            # RFC 2920 3.1: a server that says 354 although it took no recipient gets an empty message, to be refused.
            self.phase = Phase.FINAL
            return b".\r\n"
        # 2xx to DATA is no answer at all; what cannot be understood is temporary.
        self.data = Answer(0, answer.lines) if answer.good else answer
        self.closing = self.closing or answer.good
        return self._done(unclean=self.mail is not None and self.mail.good)
