"""Port 25: one connection between its transport, the SMTP session and the visit that decides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from lockgate.edge.deadlines import GONE, NEVER
from lockgate.edge.line import Line
from lockgate.edge.pace import Pace, timed
from lockgate.edge.peers import plain_address
from lockgate.edge.phases import Phase
from lockgate.mail import replies
from lockgate.mail.connection import Connection
from lockgate.mail.envelope import Envelope
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply
from lockgate.seams import BodyWriter, Unavailable
from lockgate.wire.proxy import ProxyError, read_header
from lockgate.wire.smtp.events import Event, Hello, Signal, Spoiled
from lockgate.wire.smtp.server import ServerSession
from lockgate.wire.tls import TlsFailed

if TYPE_CHECKING:
    from lockgate.edge.listener import Door
    from lockgate.flow.intake import Visit

_BACKLOG = 64 * 1024
"""Octets that may wait behind an unanswered command before we stop reading."""


class Talk(asyncio.Protocol):
    """One connection. What it holds while idle is what ten thousand idle peers cost, so it holds little."""

    __slots__ = (
        "_body", "_connection", "_door", "_early", "_half", "_line", "_pace", "_phase", "_session", "_visit", "bucket",
        "deadline",
    )  # fmt: skip

    def __init__(self, door: Door) -> None:
        self._door = door
        self._line: Line | None = None
        self._connection: Connection | None = None
        self._session: ServerSession | None = None
        self._visit: Visit | None = None
        self._body: BodyWriter | None = None
        self._early = b""
        self._phase = Phase.PROXY
        self._pace: Pace | None = None  # of the message that is under way
        self._half = False  # the peer has closed its side
        self.deadline = NEVER
        self.bucket = -1

    # --- what the transport calls -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The peer is here."""
        door = self._door
        # A cast and no isinstance: uvloop's transports are not asyncio's.
        self._line = Line(cast(asyncio.Transport, transport), door.voices)
        door.wheel.add(self)
        try:
            door.arrived(self)
            peername = transport.get_extra_info("peername")
            if peername is None:  # gone already
                self._abort()
                return
            address, packed = plain_address(peername[0])
            if door.believes(packed):
                self.deadline = door.wheel.now + door.settings.proxy_timeout
                self._early = b""
                return
            self._meet(address, packed, peername[1], "", "")
        except Exception as trouble:
            self._unforeseen(trouble)

    def data_received(self, data: bytes) -> None:
        """Octets from the peer."""
        try:
            line, session = self._line, self._session
            if self._phase == Phase.TALK and line is not None and session is not None:
                if line.pipe is None:
                    self._take(session, data)
                else:
                    self._hear(line, session, data)
            elif self._phase == Phase.HANDSHAKE:
                self._shake(data)
            elif self._phase == Phase.PROXY:
                self._hear_proxy(data)
            elif self._phase == Phase.PAUSE:
                self._refuse_early()
            # else it is what a refused peer still sends
        except TlsFailed as trouble:
            self._door.journal.note("TLS stream damaged", id=self._id, peer=self._peer, because=str(trouble))
            self._abort()
        except Exception as trouble:
            self._unforeseen(trouble)
        self._door.between()

    def eof_received(self) -> bool:
        """The peer has closed its side: an answer that is under way is still given."""
        session = self._session
        if self._phase == Phase.TALK and session is not None and session.waiting is not None:
            self._half = True
            return True
        if self._line is not None:
            self._line.speak()  # the transport closes now, and says only what it has
        return False

    def connection_lost(self, trouble: Exception | None) -> None:
        """The connection is gone; a transaction that was not complete is forgotten."""
        door = self._door
        self._phase = Phase.OVER
        self._line = None
        door.wheel.remove(self)
        self.deadline = GONE
        try:
            if self._visit is not None:
                self._visit.reset()
        except Exception as failure:
            door.journal.alarm("unforeseen", id=self._id, at="the end of a connection", trouble=failure)
        self._body = None
        door.left(self, self._connection)

    def pause_writing(self) -> None:
        """The peer does not read what we say: then we do not listen either."""
        if self._line is not None:
            self._line.stalled = True
            self._line.rest()

    def resume_writing(self) -> None:
        """The peer reads again."""
        if self._line is not None:
            self._line.stalled = False
            self._wake(self._line)

    # --- the beginning ----------------------------------------------------------------------------------------------

    @property
    def _id(self) -> str:
        return self._connection.id if self._connection is not None else ""

    @property
    def _peer(self) -> str:
        return self._connection.peer if self._connection is not None else ""

    def _hear_proxy(self, data: bytes) -> None:
        self._early += data
        peername = self._line.transport.get_extra_info("peername") if self._line is not None else None
        proxy = plain_address(peername[0])[0] if peername else ""
        try:
            found = read_header(self._early)
        except ProxyError as trouble:
            self._door.journal.note("connection refused", peer=proxy, because=str(trouble))
            self._abort()
            return
        if found is None or peername is None:
            return
        origin, length = found
        rest, self._early = self._early[length:], b""
        if origin.address:
            address, packed = plain_address(origin.address)
            listener = f"{origin.to_address}:{origin.to_port}"
            self._meet(address, packed, origin.port, proxy, listener)
        else:
            self._meet(*plain_address(peername[0]), peername[1], proxy, "")
        if rest and self._phase != Phase.LINGER:
            if self._phase == Phase.HANDSHAKE:
                self._shake(rest)
            else:
                self._refuse_early()

    def _meet(self, address: str, packed: bytes, port: int, proxy: str, listener: str) -> None:
        """The peer is known: count it, and greet it or begin TLS."""
        door = self._door
        if not listener:
            listener = door.listener_of(self._line.transport) if self._line is not None else ""
        load = door.count(packed)
        self._connection = Connection(door.new_id(), address, packed, port, listener, proxy, load=load)
        if door.full and door.settings.implicit_tls:
            self._abort()
        elif door.full:
            self._say_last(replies.TOO_BUSY)
        elif door.settings.implicit_tls:
            self._begin_tls()
        else:
            self._pause_or_greet()

    def _pause_or_greet(self) -> None:
        pause = self._door.settings.greet_pause
        if pause:
            self._phase = Phase.PAUSE
            self.deadline = self._door.wheel.now + pause
        else:
            self._greet()

    def _greet(self) -> None:
        """Ask whether the peer may talk to us, and say so."""
        door, connection = self._door, self._connection
        if connection is None:
            raise RuntimeError("a greeting without a connection")
        self._phase = Phase.TALK
        visit = self._visit = door.welcome(connection)
        reply = visit.connected()
        if reply is not None:
            self._say_last(reply)
            return
        self._session = ServerSession(door.manners, secured=connection.tls is not None)
        self.deadline = door.wheel.now + door.settings.command_timeout
        self._send(door.greeting)

    def _refuse_early(self) -> None:
        self._door.journal.note("early talker", id=self._id, peer=self._peer)
        self._say_last(replies.EARLY_TALKER)

    # --- TLS --------------------------------------------------------------------------------------------------------

    def _begin_tls(self) -> None:
        door, line = self._door, self._line
        context = door.certificates.context
        if context is None or line is None:
            raise RuntimeError("TLS without a certificate or a peer")
        line.begin_tls(context)
        self._phase = Phase.HANDSHAKE
        self.deadline = door.wheel.now + door.settings.handshake_timeout

    def _shake(self, data: bytes) -> None:
        """Go on with the handshake; whatever certificate it shows becomes a fact."""
        line, door = self._line, self._door
        if line is None:
            return
        try:
            done = line.handshake(data)
        except TlsFailed as trouble:
            door.journal.note("TLS handshake failed", id=self._id, peer=self._peer, because=str(trouble))
            line.close()
            self._phase = Phase.LINGER
            self.deadline = door.wheel.now + door.settings.linger
            return
        if done:
            self._shaken(line)
            self._notice_end(line)

    def _shaken(self, line: Line) -> None:
        door, connection, visit, session = self._door, self._connection, self._visit, self._session
        if connection is None or line.pipe is None:
            return
        tls = door.certificates.facts(line.pipe, door.clock.now())
        self._phase = Phase.TALK
        early = line.decrypt(b"")
        if visit is not None and session is not None:
            visit.secured(tls)
            session.secured()
            self.deadline = door.wheel.now + door.settings.command_timeout
            if early:
                self._take(session, early)
            return
        self._connection = replace(connection, tls=tls)
        if early:
            self._refuse_early()
        else:
            self._pause_or_greet()

    # --- the conversation -------------------------------------------------------------------------------------------

    def _hear(self, line: Line, session: ServerSession, data: bytes) -> None:
        """The same over TLS."""
        text = line.decrypt(data)
        if text:
            self._take(session, text)
        self._notice_end(line)

    def _notice_end(self, line: Line) -> None:
        """A peer that says close_notify has closed its side, as with the end of the stream in clear."""
        if line.ended and not self.eof_received():
            line.close()

    def _take(self, session: ServerSession, data: bytes) -> None:
        session.receive(data)
        if session.waiting is None:
            self._converse(session)
        elif session.buffered > _BACKLOG and self._line is not None:
            self._line.rest()

    def _converse(self, session: ServerSession) -> None:
        """Answer whatever can be answered, and send the answers in one go."""
        while (event := session.next()) is not None:
            if not self._answer(session, event):
                break
        out = session.take()
        door = self._door
        if door.draining and session.quiet and not session.closing and self._phase == Phase.TALK:
            session.say(replies.SHUTTING_DOWN)
            out += session.take()
        if out and self._line is not None:
            self._line.send(out)
        if session.waiting is not None:
            self._pace, self.deadline = None, NEVER
        elif session.takes_body or session.between_chunks:
            self._pace, self.deadline = timed(self._pace, session, door.wheel.now, door.settings)
        elif out:
            self._pace, self.deadline = None, door.wheel.now + door.settings.command_timeout
        if session.closing:
            self._end(session.parted)

    def _answer(self, session: ServerSession, event: Event) -> bool:
        """Act on one event; False if the rest has to wait."""
        visit = self._visit
        if visit is None:
            raise RuntimeError("an event without a visit")
        match event:
            case Envelope():
                session.reply(visit.mail(event))
            case RecipientId():
                reply = visit.rcpt(event)
                if not isinstance(reply, Reply):
                    self._door.undertake(self._later(reply))
                    return False
                session.reply(reply)
            case Hello(name, extended):
                visit.greeted(name, extended=extended)
            case Signal.BEGIN:
                self._begin(session, visit)
            case Signal.END:
                self._finish(session, visit)
                return False
            case Signal.FORGET:
                self._body = None
                visit.reset()
            case Signal.STARTTLS:
                self._send(session.take())
                self._begin_tls()
                return False
            case Spoiled():
                self._spoiled(session, visit, event)
        return True

    def _begin(self, session: ServerSession, visit: Visit) -> None:
        self._pace = None
        body = visit.begin()
        if isinstance(body, Reply):
            visit.reset()
            session.reply(body)
            return
        self._body = body
        session.take_body(body.write, normalise=visit.normalises())

    def _finish(self, session: ServerSession, visit: Visit) -> None:
        body, self._body = self._body, None
        if session.mended:
            visit.mended()
        if body is None:
            raise RuntimeError("the end of data without a body")
        self._door.take_in(self._done(visit.done(body, session.seen)))

    async def _done(self, verdict: Awaitable[Reply]) -> None:
        """Wait for the verdict on a message, whatever becomes of the peer, and pass it on."""
        try:
            reply = await verdict
        except Exception as trouble:
            self._door.journal.alarm("unforeseen", id=self._id, at="the end of data", trouble=trouble)
            reply = replies.UNFORESEEN.with_id(self._id)
        self._reply_late(reply)

    async def _later(self, answer: Awaitable[Reply]) -> None:
        """Wait for the answer to a command that others had to be asked for."""
        self._reply_late(await answer)

    def _reply_late(self, reply: Reply) -> None:
        session = self._session
        if self._line is None or session is None or self._phase != Phase.TALK:
            return
        try:
            session.reply(reply)
            self._converse(session)
            self._read_on(session)
        except Exception as trouble:
            self._unforeseen(trouble)

    def _spoiled(self, session: ServerSession, visit: Visit, event: Spoiled) -> None:
        """The octets ended and are no message: say why; after bare line ends nothing more is believed."""
        self._body = None
        trouble = event.trouble
        if event.reply is not None:
            session.reply(visit.spoiled(event.reply))
        else:
            visit.reset()
            reply = replies.STORAGE_UNAVAILABLE if isinstance(trouble, Unavailable) else replies.UNFORESEEN
            self._door.journal.alarm("cannot keep mail", id=self._id, peer=self._peer, trouble=trouble)
            session.reply(reply.with_id(self._id))
        if event.reply is replies.BARE_LINE_ENDS:
            session.close()

    # --- ends -------------------------------------------------------------------------------------------------------

    def expired(self, now: float) -> None:
        """A deadline has passed."""
        try:
            self._expire(now)
        except Exception as trouble:
            self._unforeseen(trouble)

    def drain(self) -> None:
        """Part at the next moment at which nothing is lost; at once, if this is one."""
        session = self._session
        if self._phase in (Phase.PROXY, Phase.HANDSHAKE, Phase.PAUSE):
            if self._phase == Phase.PAUSE:
                self._say_last(replies.SHUTTING_DOWN)
            else:
                self._abort()
        elif session is not None and self._phase == Phase.TALK and session.quiet and not session.buffered:
            self._say_last(replies.SHUTTING_DOWN)

    def cut(self) -> None:
        """Patience is over."""
        if self._phase == Phase.TALK:
            self._say_last(replies.SHUTTING_DOWN)
        else:
            self._abort()

    def _expire(self, now: float) -> None:
        door, session = self._door, self._session
        if self._phase == Phase.PAUSE:
            self._greet()
        elif self._phase != Phase.TALK or session is None:
            self._abort()
        elif session.lone_end:
            self._answer(session, session.end_here())
            self._converse(session)
        elif self._pace is not None:
            again = self._pace.look(now, session.heard, door.settings)
            if isinstance(again, Reply):
                self._cut_off(again)
            else:
                self.deadline = again
        else:
            self._cut_off(replies.TIMED_OUT)

    def _cut_off(self, reply: Reply) -> None:
        self._door.journal.note("cut off", id=self._id, peer=self._peer, reply=str(reply))
        self._say_last(reply)

    def _say_last(self, reply: Reply) -> None:
        """Say this and part, for a reason of ours."""
        self._send(reply.wire())
        self._end(parted=False)

    def _end(self, parted: bool) -> None:
        """Close; a peer that did not say QUIT may still be sending."""
        line = self._line
        if line is None or self._phase >= Phase.LINGER:
            return
        self._phase = Phase.LINGER
        self.deadline = self._door.wheel.now + self._door.settings.linger
        if self._visit is not None:
            self._visit.reset()
        line.close_gently(at_once=parted or self._half)

    def _abort(self) -> None:
        if self._line is not None:
            self._phase = Phase.OVER
            self._line.transport.abort()

    def _unforeseen(self, trouble: Exception) -> None:
        """No exception leaves the door: the peer may try again, and a person is told."""
        self._door.journal.alarm("unforeseen", id=self._id, peer=self._peer, at="the door", trouble=trouble)
        try:
            if self._phase in (Phase.TALK, Phase.PAUSE):
                self._say_last(replies.UNFORESEEN.with_id(self._id))
            else:
                self._abort()
        except Exception:
            self._abort()

    def _send(self, out: bytes) -> None:
        if self._line is not None:
            self._line.send(out)

    def _read_on(self, session: ServerSession) -> None:
        """An answer is given: listen again, or part with a peer that has nothing more to say."""
        line = self._line
        if line is not None and self._half and session.waiting is None:
            line.close()
        elif line is not None:
            self._wake(line)

    def _wake(self, line: Line) -> None:
        session = self._session
        if self._phase != Phase.TALK or session is None or session.waiting is None or session.buffered <= _BACKLOG:
            line.wake()
