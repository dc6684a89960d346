"""The line to one peer: a transport, and TLS on it once it has begun."""

from __future__ import annotations

import asyncio

from OpenSSL import SSL

from lockgate.wire.tls import TlsPipe
from lockgate.wire.voices import Voices


class Line:
    """Octets out and in; `pipe` is None in clear. Reading can be paused for two reasons, theirs and ours.

    What is said leaves at the end of the loop's turn with what others are told (wire/voices.py), or before the line
    closes.
    """

    __slots__ = ("_resting", "_unsaid", "_voices", "pipe", "stalled", "transport")

    def __init__(self, transport: asyncio.Transport, voices: Voices) -> None:
        self.transport = transport
        self._voices = voices
        self._unsaid = b""
        self.pipe: TlsPipe | None = None
        self.stalled = False  # the peer does not read what we say
        self._resting = False

    def begin_tls(self, context: SSL.Context) -> None:
        """From here on octets of the peer are a handshake."""
        self.pipe = TlsPipe(context, server=True)

    def handshake(self, data: bytes) -> bool:
        """Go on with the handshake; True once it is complete. Raises TlsFailed; the alert is sent."""
        pipe = self.pipe
        if pipe is None:
            return False
        pipe.feed(data)
        try:
            return pipe.handshake()
        finally:
            self._pass_on(pipe)

    def decrypt(self, data: bytes) -> bytes:
        """What the peer said; as it is, in clear. Raises TlsFailed."""
        pipe = self.pipe
        if pipe is None:
            return data
        pipe.feed(data)
        text = pipe.read()
        self._pass_on(pipe)
        return text

    @property
    def ended(self) -> bool:
        """Whether the peer has said that no more will come over TLS."""
        return self.pipe is not None and self.pipe.closed

    def send(self, data: bytes) -> None:
        """Say something. Raises TlsFailed."""
        pipe = self.pipe
        if pipe is None:
            self._say(data)
        else:
            pipe.write(data)
            self._pass_on(pipe)

    def speak(self) -> None:
        """Write what has been said so far; nothing, if the line is closing by now."""
        out, self._unsaid = self._unsaid, b""
        if out and not self.transport.is_closing():
            self.transport.write(out)

    def rest(self) -> None:
        """Read no more for now."""
        if not self._resting:
            self._resting = True
            self.transport.pause_reading()

    def wake(self) -> None:
        """Read again, unless the peer itself does not."""
        if self._resting and not self.stalled and not self.transport.is_closing():
            self._resting = False
            self.transport.resume_reading()

    def close(self) -> None:
        """Send what is left and close."""
        self.speak()
        self.transport.close()

    def close_gently(self, *, at_once: bool) -> None:
        """Say that no more will come. A peer that may still be sending is read on: a reset would eat our last word."""
        transport, pipe = self.transport, self.pipe
        if transport.is_closing():
            return
        if pipe is not None:
            pipe.shutdown()
            self._pass_on(pipe)
        self.speak()
        if at_once or not transport.can_write_eof():
            transport.close()
            return
        try:
            self.wake()
            transport.write_eof()
        except OSError:  # the peer has gone in this very moment
            transport.close()

    def _pass_on(self, pipe: TlsPipe) -> None:
        out = pipe.take()
        if out:
            self._say(out)

    def _say(self, out: bytes) -> None:
        if self._unsaid:
            self._unsaid += out
        else:
            self._unsaid = out
            self._voices.add(self)
