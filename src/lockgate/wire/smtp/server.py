"""The listening side of an SMTP session: bytes in, events out; a reply in, bytes out. No sockets, no opinions.

RFC 5321, 2920 (PIPELINING), 3030 (CHUNKING), 3207 (STARTTLS). The driver calls `receive`, then `next` until it gives
None, answers each event as its documentation says, and sends what `take` gives: one write per segment that came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lockgate.mail import replies
from lockgate.mail.envelope import Envelope
from lockgate.mail.octets import SeenOctets
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply
from lockgate.wire.smtp.data import ChunkReader, DataReader, Flaw
from lockgate.wire.smtp.events import Event, Hello, Signal, Spoiled
from lockgate.wire.smtp.grammar import Terms, read_bdat, read_hello, read_mail, read_rcpt, split_command
from lockgate.wire.smtp.manners import Manners
from lockgate.wire.smtp.mending import MendingReader
from lockgate.wire.smtp.states import OUT_OF_ORDER, State

COMMAND_LIMIT = 2048
"""Octets of a command line: 512 of RFC 5321 4.5.3.1.4 and what DSN, SIZE and SMTPUTF8 add to it, rounded up."""

_SHORT_COMMAND_LIMIT = 512
_LONG_COMMANDS = frozenset((b"MAIL", b"RCPT"))


_CLEAR_HELO = Terms(extended=False, secured=False)
_CLEAR_EHLO = Terms(extended=True, secured=False)
_SECURED_HELO = Terms(extended=False, secured=True)
_SECURED_EHLO = Terms(extended=True, secured=True)


class ServerSession:
    """One session. `closing` tells that the connection ends once the output is sent, `parted` that QUIT was said.

    `waiting` is the event that is not answered yet; until it is, commands stay in the buffer. `mended` tells of a
    message that is complete whether bare line ends became CRLF in it, `seen` what is known of its octets. `heard`
    counts the octets of messages that came on this connection, also those that are thrown away because the message is
    refused already.
    """

    __slots__ = (
        "_at",
        "_body",
        "_buffer",
        "_chunk",
        "_errors",
        "_idle",
        "_last",
        "_late",
        "_manners",
        "_out",
        "_recipients",
        "_refusals",
        "_secured",
        "_state",
        "_terms",
        "_unclean",
        "_utf8",
        "closing",
        "heard",
        "mended",
        "parted",
        "seen",
        "waiting",
    )

    def __init__(self, manners: Manners, *, secured: bool = False) -> None:
        self._manners = manners
        self._secured = secured
        self._terms = _SECURED_HELO if secured else _CLEAR_HELO
        self._buffer = b""
        self._at = 0
        self._out: list[bytes] = []
        self._state = State.NEW
        self.waiting: Event | None = None
        self._body: DataReader | MendingReader | ChunkReader | None = None
        self._chunk = -1  # octets of the current BDAT chunk that are still to come; -1: none is open
        self._last = False
        self._late: Reply | None = None  # what is said of a refused chunk once its octets are gone
        self._recipients = self._refusals = self._errors = self._idle = 0
        self._utf8 = False
        self._unclean = False
        self.mended = False
        self.seen: SeenOctets | None = None
        self.heard = 0
        self.closing = False
        self.parted = False

    # --- what the driver asks ---------------------------------------------------------------------------------------

    @property
    def quiet(self) -> bool:
        """Whether no transaction is open and nothing is under way: the moment to say 421 without loss."""
        return self._state <= State.GREETED and self.waiting is None and self._body is None and self._chunk < 0

    @property
    def takes_body(self) -> bool:
        """Whether octets of a message are expected now."""
        return self._chunk >= 0 or isinstance(self._body, DataReader | MendingReader)

    @property
    def between_chunks(self) -> bool:
        """Whether a part of a message is here and the next chunk has not begun."""
        return self._state == State.CHUNKS and self._chunk < 0

    @property
    def mends(self) -> bool:
        """Whether octets come of which bare line ends become CRLF."""
        return isinstance(self._body, MendingReader)

    @property
    def lone_end(self) -> bool:
        """Whether an old device has sent a dot on a line that is not ended as it should be, and nothing behind it."""
        return isinstance(self._body, MendingReader) and self._body.lone_end

    def end_here(self) -> Event:
        """The device has been silent after that dot, so it was the end; what comes of it, to be answered.

        Nothing that follows is ever read: the session ends with the answer. Otherwise who can write into a message that
        the device carries could put commands behind such a dot and have them obeyed (SMTP smuggling).
        """
        body = self._body
        if not isinstance(body, MendingReader):
            raise RuntimeError("no body whose end may be told by silence")
        body.end_here()
        self._unclean = True
        return self._ended(body)

    @property
    def buffered(self) -> int:
        """Octets received and not yet looked at."""
        return len(self._buffer) - self._at

    def receive(self, data: bytes) -> None:
        """Octets from the peer."""
        self._buffer = self._buffer[self._at :] + data if self._buffer else data
        self._at = 0

    def take(self) -> bytes:
        """Octets for the peer; b"" if there are none."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def say(self, reply: Reply, *, close: bool = False) -> None:
        """Say something that answers no event: greeting, time-out, shutting down."""
        self._out.append(reply.wire())
        if close or reply.closes:
            self.close()

    def close(self) -> None:
        """Nothing more is read."""
        self.closing = True
        self._buffer = b""
        self._at = 0

    def secured(self) -> None:
        """The handshake is over: all that was said before is forgotten (RFC 3207 4.2)."""
        self._forget()
        self._secured = True
        self._state = State.NEW
        self._terms = _SECURED_HELO
        self._buffer, self._at, self._idle = b"", 0, 0

    def take_body(self, write: Callable[[bytes], None], *, normalise: bool = False) -> None:
        """The answer to BEGIN: octets go to `write`, which may raise; with `normalise` bare line ends become CRLF."""
        self.waiting = None
        if self._chunk < 0:
            self._out.append(_SEND_DATA)
            self._body = (MendingReader if normalise else DataReader)(write, self._manners.limits)
        else:
            self._body = ChunkReader(write, self._manners.limits, normalise=normalise)
            self._state = State.CHUNKS

    def reply(self, reply: Reply) -> None:
        """The answer to the event that waits."""
        event, self.waiting = self.waiting, None
        if event is Signal.BEGIN or self._chunk >= 0:
            self._refuse_body(reply)
            return
        self._out.append(reply.wire())
        match event:
            case Envelope():
                if reply.accepts:
                    self._state, self._utf8, self._idle = State.SENDER, event.utf8, 0
                elif not reply.closes:
                    self._count_refusal()
            case RecipientId():
                self._count_recipient(reply)
            case _:  # the end of a message, whatever became of it
                self._forget()
                if self._unclean:
                    self.say(replies.UNCLEAN_END)
        if reply.closes:
            self.close()

    def next(self) -> Event | None:
        """The next event; None if more octets, or an answer, are needed first."""
        while self.waiting is None and self._at < len(self._buffer):
            if self._chunk >= 0:
                event = self._take_chunk()
            elif isinstance(self._body, DataReader | MendingReader):
                event = self._take_data(self._body)
            else:
                line = self._line()
                if line is None:
                    break
                event = self._command(line)
            if event is not None:
                return event
        if self._chunk == 0 and self.waiting is None:
            return self._take_chunk()
        return None

    # --- the body ---------------------------------------------------------------------------------------------------

    def _take_data(self, body: DataReader | MendingReader) -> Event | None:
        data = self._buffer[self._at :] if self._at else self._buffer
        rest = body.feed(data)
        self._at = 0
        if rest is None:
            self.heard += len(data)
            self._buffer = b""
            return None
        self._buffer = rest
        return self._ended(body)

    def _take_chunk(self) -> Event | None:
        data = self._buffer[self._at : self._at + self._chunk]
        self._at += len(data)
        self._chunk -= len(data)
        self.heard += len(data)
        body = self._body
        if data and isinstance(body, ChunkReader) and self._late is None:
            body.feed(data)
        if self._chunk:
            return None
        self._chunk = -1
        if self._late is not None or not isinstance(body, ChunkReader):
            late, self._late = self._late or replies.BAD_SEQUENCE, None
            return self._wrong(late)
        if self._last:
            body.finish()
            return self._ended(body)
        if body.flaw is not None:
            return self._ended(body)
        self._out.append(_CHUNK_TAKEN)
        return None

    def _ended(self, body: DataReader | MendingReader | ChunkReader) -> Event:
        self._body, self.mended, self.seen = None, body.mended, body.seen
        match body.flaw:
            case None:
                event: Event = Signal.END
            case Flaw.NOT_KEPT:
                event = Spoiled(None, body.trouble)
            case flaw:
                event = Spoiled(_FLAWS[flaw])
        self.waiting = event
        return event

    def _refuse_body(self, reply: Reply) -> None:
        if self._chunk >= 0:  # it is said once its octets are here and thrown away
            self._forget()
            self._late = reply
            return
        self._out.append(reply.wire())
        self._forget()
        # What follows a refused DATA is a body that was not waited for; it must not be read as commands (RFC 2920 3.1).
        if reply.closes or self.buffered:
            self.close()

    def _count_recipient(self, reply: Reply) -> None:
        if reply.accepts:
            self._recipients += 1
            self._state = State.RECIPIENTS
            return
        self._count_refusal()

    def _count_refusal(self) -> None:
        self._refusals += 1
        if self._refusals >= self._manners.max_refusals:
            self.say(replies.TOO_MANY_ERRORS)

    def _forget(self) -> None:
        """Back to the state after HELO."""
        if self._state > State.GREETED:
            self._state = State.GREETED
        self._body = None
        self._recipients = 0
        self._utf8 = False

    # --- commands ---------------------------------------------------------------------------------------------------

    def _line(self) -> bytes | None:
        """The next command line without its CRLF; None if there is none, or none that may be read."""
        buffer, at = self._buffer, self._at
        end = buffer.find(b"\n", at)
        if end < 0:
            if len(buffer) - at > COMMAND_LIMIT:
                self.say(replies.LINE_TOO_LONG, close=True)
            elif buffer[at] == _TLS_HANDSHAKE or buffer[at] == 0:
                self.say(replies.NOT_SMTP, close=True)
            return None
        line = buffer[at : end + 1]
        self._at = end + 1
        if not line.endswith(b"\r\n") or line.find(b"\r") < end - at - 1 or b"\0" in line:
            # An ill-ended line may be read differently by somebody behind or before us: no second chance.
            self.say(replies.COMMAND_LINE_ENDS, close=True)
            return None
        return line[:-2]

    def _command(self, line: bytes) -> Event | None:
        verb, rest = split_command(line)
        if len(line) > _SHORT_COMMAND_LIMIT - 2 and (len(line) > COMMAND_LIMIT - 2 or verb not in _LONG_COMMANDS):
            return self._wrong(replies.LINE_TOO_LONG)
        answer = _COMMANDS.get(verb)
        if answer is None:
            if verb in _OTHER_PROTOCOLS:
                self.say(replies.NOT_SMTP, close=True)
                return None
            return self._wrong(replies.NOT_IMPLEMENTED if verb in _KNOWN else replies.UNKNOWN_COMMAND)
        order = OUT_OF_ORDER.get(verb)
        if order is not None and verb != b"BDAT" and (refusal := order.get(self._state)) is not None:
            return self._wrong(refusal)
        return answer(self, rest)

    def _wrong(self, reply: Reply) -> Event | None:
        """A mistake of the peer."""
        self._out.append(reply.wire())
        self._errors += 1
        if reply.closes:
            self.close()
        elif self._errors >= self._manners.max_errors:
            self.say(replies.TOO_MANY_ERRORS)
        return None

    def _idling(self, reply: bytes) -> Event | None:
        """An answer to something that does not bring mail nearer; such commands are counted."""
        self._out.append(reply)
        self._idle += 1
        if self._idle >= self._manners.max_idle_commands:
            self.say(replies.TOO_MANY_ERRORS)
        return None

    def _helo(self, rest: bytes) -> Event | None:
        return self._greet(rest, self._manners.hello, _SECURED_HELO if self._secured else _CLEAR_HELO)

    def _ehlo(self, rest: bytes) -> Event | None:
        if self._secured:
            return self._greet(rest, self._manners.extended_secured, _SECURED_EHLO)
        return self._greet(rest, self._manners.extended_clear, _CLEAR_EHLO)

    def _greet(self, rest: bytes, answer: bytes, terms: Terms) -> Event | None:
        name = read_hello(rest)
        if isinstance(name, Reply):
            return self._wrong(name)
        self._forget()
        self._state = State.GREETED
        self._terms = terms
        self._idling(answer)
        return Hello(name, terms.extended)

    def _mail(self, rest: bytes) -> Event | None:
        envelope = read_mail(rest, self._terms)
        if isinstance(envelope, Reply):
            return self._wrong(envelope)
        self.waiting = envelope
        return envelope

    def _rcpt(self, rest: bytes) -> Event | None:
        recipient = read_rcpt(rest, self._terms, utf8=self._utf8)
        if isinstance(recipient, Reply):
            return self._wrong(recipient)
        if self._recipients >= self._manners.max_recipients:
            self._out.append(replies.TOO_MANY_RECIPIENTS.wire())
            self._count_recipient(replies.TOO_MANY_RECIPIENTS)
            return None
        self.waiting = recipient
        return recipient

    def _data(self, rest: bytes) -> Event | None:
        if rest:
            return self._wrong(replies.BAD_SYNTAX)
        self.waiting = Signal.BEGIN
        return Signal.BEGIN

    def _bdat(self, rest: bytes) -> Event | None:
        read = read_bdat(rest)
        if read is None:
            # Where the chunk ends is not known, so nothing that follows can be read.
            self.say(replies.BAD_SYNTAX, close=True)
            return None
        self._chunk, self._last = read
        self._late = OUT_OF_ORDER[b"BDAT"].get(self._state)
        if self._late is None and self._chunk + (self._body.size if self._body else 0) > self._manners.limits.size:
            self.waiting = Spoiled(replies.MESSAGE_TOO_LARGE)
        elif self._late is None and self._state == State.RECIPIENTS:
            self.waiting = Signal.BEGIN
        return self.waiting

    def _rset(self, rest: bytes) -> Event | None:
        if rest:
            return self._wrong(replies.BAD_SYNTAX)
        self._forget()
        self._idling(_RESET)
        return Signal.FORGET

    def _noop(self, _: bytes) -> Event | None:
        return self._idling(_OK)

    def _help(self, _: bytes) -> Event | None:
        return self._idling(_HELP)

    def _vrfy(self, rest: bytes) -> Event | None:
        if not rest:
            return self._wrong(replies.BAD_SYNTAX)
        return self._idling(_CANNOT_VERIFY)

    def _quit(self, _: bytes) -> Event | None:
        self.parted = True
        self.say(replies.GOODBYE, close=True)
        return None

    def _starttls(self, rest: bytes) -> Event | None:
        if rest:
            return self._wrong(replies.BAD_SYNTAX)
        if self._secured:
            return self._wrong(replies.TLS_ALREADY)
        if not self._manners.starttls:
            return self._wrong(replies.NOT_IMPLEMENTED)
        if self.buffered:
            # Somebody may have put these octets there (CVE-2011-0411): they are not read, now or later.
            self.say(replies.PIPELINED_AFTER_STARTTLS, close=True)
            return None
        self._out.append(_READY_FOR_TLS)
        return Signal.STARTTLS


_TLS_HANDSHAKE = 0x16
_SEND_DATA = replies.SEND_DATA.wire()
_CHUNK_TAKEN = replies.CHUNK_TAKEN.wire()
_RESET = replies.RESET.wire()
_OK = replies.OK.wire()
_HELP = replies.HELP.wire()
_CANNOT_VERIFY = replies.CANNOT_VERIFY.wire()
_READY_FOR_TLS = replies.READY_FOR_TLS.wire()

_FLAWS: Mapping[Flaw, Reply] = {
    Flaw.LINE_ENDS: replies.BARE_LINE_ENDS,
    Flaw.TOO_LARGE: replies.MESSAGE_TOO_LARGE,
    Flaw.LONG_LINE: replies.TEXT_LINE_TOO_LONG,
}

_KNOWN = frozenset((b"AUTH", b"EXPN", b"ETRN", b"TURN", b"ATRN", b"SEND", b"SOML", b"SAML"))
_OTHER_PROTOCOLS = frozenset((b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"PROXY", b"PRI", b"SSH-2.0"))

_COMMANDS: Mapping[bytes, Callable[[ServerSession, bytes], Event | None]] = {
    b"EHLO": ServerSession._ehlo,
    b"HELO": ServerSession._helo,
    b"MAIL": ServerSession._mail,
    b"RCPT": ServerSession._rcpt,
    b"DATA": ServerSession._data,
    b"BDAT": ServerSession._bdat,
    b"RSET": ServerSession._rset,
    b"NOOP": ServerSession._noop,
    b"HELP": ServerSession._help,
    b"VRFY": ServerSession._vrfy,
    b"QUIT": ServerSession._quit,
    b"STARTTLS": ServerSession._starttls,
}
