"""One connection to one server: a socket around the client's side of SMTP, with a deadline for each step."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from lockgate.couriers.finals import Finals, Watched
from lockgate.couriers.hosts import Target
from lockgate.couriers.settings import Patience
from lockgate.couriers.witness import Attempt
from lockgate.mail import replies
from lockgate.wire.smtp.answers import Answer, AnswerReader, BadServer
from lockgate.wire.smtp.client import CLOSING, Opening, Phase, Transaction
from lockgate.wire.smtp.inquiry import Inquiry
from lockgate.wire.tls import TlsFailed, TlsPipe
from lockgate.wire.voices import Voices

SLICE = 256 * 1024
"""Octets written at a time, so that a slow reader is noticed."""

_FAREWELL = 5.0


class Link(asyncio.Protocol):
    """Owned by a lane. `wait` returns when the conversation under way is over, however it ended.

    `lost` tells why the connection is gone ("" while it is not), `secure` whether TLS is on, `untrusted` why the
    certificate does not meet the demand. `carried` counts the transactions begun. `make_tls` gives the TLS side,
    `objection` judges what the server showed. `attempt` is told how the opening goes; in delivery there is none.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Target,
        opening: Opening,
        patience: Patience,
        least_rate: int,
        make_tls: Callable[[], TlsPipe],
        objection: Callable[[TlsPipe], str],
        gone: Callable[[Link], None],
        finals: Finals,
        voices: Voices,
    ) -> None:
        self.target = target
        self.host = str(target)
        self.opening = opening
        self.lost = ""
        self.secure = False
        self.untrusted = ""
        self.tls = ""
        self.carried = 0
        self.unclean = False
        self.attempt: Attempt | None = None
        self._loop = loop
        self._patience = patience
        self._rate = least_rate
        self._make_tls = make_tls
        self._objection = objection
        self._gone = gone
        self._finals = finals
        self._voices = voices
        self._unsaid = b""
        self._watched: Watched | None = None
        self._reader = AnswerReader()
        self.pipe: TlsPipe | None = None
        self._transport: asyncio.Transport | None = None
        self._talk: Opening | Transaction | Inquiry | None = opening
        self._waiter: asyncio.Future[None] | None = None
        self._over: Callable[[], None] = lambda: None
        self._leaving = False
        self._paused = False
        self._backlog: deque[memoryview] = deque()
        self._deadline = 0.0
        self._stalls = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0.0
        self._seconds = {
            Phase.GREETING: patience.greeting,
            Phase.HELLO: patience.hello,
            Phase.STARTTLS: patience.hello,
            Phase.HANDSHAKE: patience.handshake,
            Phase.LOGIN: patience.login,
            Phase.READY: patience.idle,
            Phase.MAIL: patience.mail,
            Phase.RCPT: patience.rcpt,
            Phase.DATA: patience.data,
            Phase.FINAL: patience.final,
            Phase.DONE: patience.idle,
        }

    # --- what the lane asks for ------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether another transaction may begin here."""
        busy = self.lost or self._leaving or self._backlog or self._talk is not None
        return not busy and self._reader.empty

    @property
    def making_tls(self) -> bool:
        """Whether TLS was asked for and is not there yet; where the connection is lost, whether it broke over that."""
        return self.opening.phase in (Phase.STARTTLS, Phase.HANDSHAKE)

    @property
    def local_address(self) -> str:
        """Our own address of this connection, "" where there is none (a Unix socket, a connection that is gone)."""
        ours = self._transport.get_extra_info("sockname") if self._transport is not None else None
        return str(ours[0]) if isinstance(ours, tuple) else ""

    def begin(self, transaction: Transaction | Inquiry, over: Callable[[], None]) -> None:
        """Say the first words of a transaction; `over` is called in the instant in which its last answer is read."""
        self.carried += 1
        self._talk, self._over = transaction, over
        self._expect(self._seconds[Phase.MAIL])
        self._send(transaction.begin())

    async def wait(self) -> None:
        """Until the conversation under way is over or the connection lost."""
        if self._talk is None or self.lost:
            return
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def quit(self) -> None:
        """Part in peace: QUIT, and a moment for the answer (RFC 5321 4.1.1.10)."""
        if self.lost or self._leaving:
            return
        if self._talk is not None or self._backlog:
            self.abort("the connection is not needed any more")
            return
        self._leaving = True
        self._expect(_FAREWELL)
        self._send(b"QUIT\r\n")

    def abort(self, why: str) -> None:
        """Part at once."""
        self.lost = self.lost or why
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected; the server speaks first."""
        # A cast and no isinstance: uvloop's transports are not asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=SLICE)
        descriptor = transport.get_extra_info("socket").fileno()
        if descriptor >= 0:  # else it is gone already
            self._watched = self._finals.watch(descriptor, self._heard_early)
        self._expect(self._patience.greeting)

    def data_received(self, data: bytes) -> None:
        """Octets from the server."""
        if self.lost:
            return
        try:
            if self.pipe is not None:
                data = self._decrypt(self.pipe, data)
            if data:
                self._hear(data)
        except (BadServer, TlsFailed) as trouble:
            self.abort(str(trouble))
            self._wake()
        self._finals.look()

    def _heard_early(self, data: bytes) -> None:
        """The same, when the answer to the end of data was read before the loop came round to it.

        Our own mistake ends this connection, as it would if the loop had called, and not the work that was interrupted.
        """
        try:
            self.data_received(data)
        except Exception as trouble:
            self._loop.call_exception_handler({"message": "an answer could not be taken", "exception": trouble})
            self.abort("an unforeseen trouble of ours")
            self._wake()

    def pause_writing(self) -> None:
        """The server reads slowly."""
        self._paused = True

    def resume_writing(self) -> None:
        """It has read."""
        self._paused = False
        if self._backlog:
            self._pump()

    def eof_received(self) -> bool:
        """The server closes; we close too."""
        self.speak()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, once."""
        self.lost = self.lost or (replies.clean(str(exc)) if exc else "the server closed the connection")
        if self._watched is not None:
            self._watched.end()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._backlog.clear()
        if self.pipe is not None and self.secure:
            # OpenSSL forbids to resume the session of a connection that was dropped without a farewell.
            self.pipe.shutdown()
        self._wake()
        self._gone(self)

    # --- listening -------------------------------------------------------------------------------------------------

    def _hear(self, data: bytes, trouble: str = "") -> None:
        """Take what was said; `trouble` is what stands behind it. Raises BadServer."""
        answers = self._reader.feed(data)
        trouble = trouble or self._reader.trouble
        last = len(answers) - 1
        for number, answer in enumerate(answers):
            if trouble and not self._to_be_heard():
                break
            match self._talk:
                case Transaction() | Inquiry() as transaction:
                    self._transaction_heard(transaction, answer)
                case Opening() as opening:
                    behind = self._reader
                    alone = number == last and (behind.empty or bool(behind.alert))
                    self._opening_heard(opening, answer, alone=alone)
                case None:
                    self._unasked(answer)
        if trouble:
            raise BadServer(trouble)

    def _to_be_heard(self) -> bool:
        """Whether an answer counts although nonsense stands behind it: nothing more is said to such a server.

        What has become of the content does; and so does a word to STARTTLS, behind which somebody may have put more.
        """
        return self._talk is not None and self._talk.phase in (Phase.FINAL, Phase.STARTTLS)

    def _transaction_heard(self, transaction: Transaction | Inquiry, answer: Answer) -> None:
        if self._backlog and answer.good and transaction.phase is Phase.FINAL:
            raise BadServer("the server says that it has a message which has not been sent whole")
        out = transaction.answer(answer)
        phase = transaction.phase
        self._expect(self._seconds[phase] + (len(out) / self._rate if phase is Phase.FINAL else 0.0))
        if out:
            self._send(out)
        if self._watched is not None and phase is not Phase.FINAL:
            self._watched.expect(due=False)
        if phase is Phase.DONE:
            self._talk = None
            self.unclean = transaction.unclean
            self._over()
            if transaction.closing:
                self._leaving = True
                self._expect(_FAREWELL)
            self._wake()

    def _opening_heard(self, opening: Opening, answer: Answer, *, alone: bool) -> None:
        if self.attempt is not None:
            self.attempt.answered(opening.phase, answer)
        out = opening.answer(answer, alone=alone)
        self._expect(self._seconds[opening.phase])
        if out:
            self._send(out)
        match opening.phase:
            case Phase.HANDSHAKE:
                self.pipe = self._make_tls()
                if self.attempt is not None:
                    self.attempt.pipe = self.pipe
                self.pipe.feed(self._reader.alert)
                self._reader = AnswerReader()
                self.pipe.handshake()
                self._write(self.pipe.take())
            case Phase.READY:
                self._talk = None
                self._wake()
            case Phase.DONE:
                self._talk = None
                self._leaving = True
                self._expect(_FAREWELL)
                self._wake()
            case _:
                pass

    def _unasked(self, answer: Answer) -> None:
        if self._leaving or answer.code == CLOSING:
            self._leaving = True
            if self.pipe is not None:
                self.pipe.shutdown()
                self._write(self.pipe.take())
            self._close()
            return
        raise BadServer("the server spoke without having been asked")

    def _decrypt(self, pipe: TlsPipe, data: bytes) -> bytes:
        pipe.feed(data)
        if not self.secure:
            done = pipe.handshake()
            self._write(pipe.take())
            if not done:
                return b""
            if self.attempt is not None:
                self.attempt.secured(pipe)
            self.untrusted = self._objection(pipe)
            if self.untrusted:
                self.abort(self.untrusted)
                self._wake()
                return b""
            self.secure = True
            self.tls = f"{pipe.version} {pipe.cipher}"
            self._reader = AnswerReader()
            self._send(self.opening.secured())
        try:
            plain = pipe.read()
        except TlsFailed as damage:
            self._hear(damage.before, str(damage))
            raise
        self._write(pipe.take())
        if pipe.closed:
            self._close()
        return plain

    def _close(self) -> None:
        self.speak()
        if self._transport is not None:
            self._transport.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- speaking --------------------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if len(data) <= SLICE and not self._backlog:
            self._write_secure(data)
            return
        self._backlog.append(memoryview(data))
        self._pump()

    def _pump(self) -> None:
        while self._backlog and not self._paused:
            piece = self._backlog.popleft()
            if len(piece) > SLICE:
                self._backlog.appendleft(piece[SLICE:])
            self._write_secure(bytes(piece[:SLICE]))
            self.speak()  # the transport tells at once if that is more than it can send
        if self._backlog:
            self._stalls = self._loop.time() + self._patience.block
            if self._stalls < self._armed:
                self._arm()

    def _write_secure(self, data: bytes) -> None:
        if self.pipe is None:
            self._write(data)
        elif self.secure:
            self.pipe.write(data)
            self._write(self.pipe.take())
        else:
            self.abort("a word was to be said in the middle of a handshake")

    def _write(self, data: bytes) -> None:
        """Said at the end of the loop's turn, with what other servers are told."""
        if not data:
            return
        if self._unsaid:
            self._unsaid += data
        else:
            self._unsaid = data
            self._voices.add(self)

    def speak(self) -> None:
        """Write what has been said so far; nothing, if the connection is closing by now."""
        out, self._unsaid = self._unsaid, b""
        if not out or self._transport is None or self._transport.is_closing():
            return
        self._transport.write(out)
        talk = self._talk
        if self._watched is not None and talk is not None and talk.phase is Phase.FINAL and not self._backlog:
            self._watched.expect(due=True)

    # --- deadlines -------------------------------------------------------------------------------------------------

    def _expect(self, seconds: float) -> None:
        """The next word has to come within this time. The timer runs on its own and looks at the deadline when it
        fires, so that a message costs no timer."""
        self._deadline = self._loop.time() + seconds
        if self._timer is None or self._deadline < self._armed:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = min(self._deadline, self._stalls) if self._backlog else self._deadline
        self._timer = self._loop.call_at(self._armed, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self.lost:
            return
        now = self._loop.time()
        if now < self._deadline and not (self._backlog and now >= self._stalls):
            self._arm()
        elif self._talk is None and not self._leaving:
            self.quit()
        else:
            self.abort("the server did not answer in time")
            self._wake()
