"""The line to one peer: a transport, and TLS on it once it has begun."""

from __future__ import annotations

import asyncio

from OpenSSL import SSL

from lockgate.wire.tls import TlsPipe


class Line:
    """Octets out and in; `pipe` is None in clear. Reading can be paused for two reasons, theirs and ours."""

    __slots__ = ("_resting", "pipe", "stalled", "transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
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
            self.transport.write(data)
        else:
            pipe.write(data)
            self._pass_on(pipe)

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
        self.transport.close()

    def close_gently(self, *, at_once: bool) -> None:
        """Say that no more will come. A peer that may still be sending is read on: a reset would eat our last word."""
        transport, pipe = self.transport, self.pipe
        if transport.is_closing():
            return
        if pipe is not None:
            pipe.shutdown()
            self._pass_on(pipe)
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
            self.transport.write(out)
