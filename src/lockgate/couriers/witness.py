"""Watches how connections are opened, for who has to tell about it; delivery itself has no witness."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lockgate.couriers.terms import PLAIN
from lockgate.wire.smtp.answers import Answer
from lockgate.wire.smtp.client import Phase, TlsUse
from lockgate.wire.tls import TlsPipe

if TYPE_CHECKING:
    from lockgate.couriers.hosts import Target


class Attempt:
    """One connection to one server, as seen from outside of it.

    `seconds` is how long the connection took to open (None: it did not open). `heard` are the server's answers with
    the phase they belong to and whether they came under TLS. `chain` is what the server showed (DER, leaf first), `tls`
    the protocol and cipher, `pipe` the TLS side as soon as there is one, `why` why no transaction could begin;
    `errno` is the system's word for a connection that did not open.
    """

    __slots__ = ("_begun", "chain", "errno", "heard", "pipe", "seconds", "target", "tls", "use", "why")

    def __init__(self, target: Target, use: TlsUse) -> None:
        self.target = target
        self.use = use
        self.seconds: float | None = None
        self.heard: list[tuple[Phase, bool, Answer]] = []
        self.chain: tuple[bytes, ...] = ()
        self.tls = ""
        self.why = ""
        self.errno = 0
        self.pipe: TlsPipe | None = None
        self._begun = time.monotonic()

    def connected(self) -> None:
        """The connection is open."""
        self.seconds = time.monotonic() - self._begun

    def answered(self, phase: Phase, answer: Answer) -> None:
        """The server said this in that phase of the opening."""
        self.heard.append((phase, bool(self.tls), answer))

    def secured(self, pipe: TlsPipe) -> None:
        """The handshake is over; nobody has judged the certificate yet."""
        self.chain = tuple(pipe.peer_chain())
        self.tls = f"{pipe.version} {pipe.cipher}"

    @property
    def asked(self) -> bool:
        """Whether the server asked for our certificate."""
        return self.pipe is not None and self.pipe.certificate_asked

    def answer(self, phase: Phase) -> Answer | None:
        """The last answer in this phase."""
        return next((answer for told, _, answer in reversed(self.heard) if told is phase), None)


class Witness:
    """Remembers the attempts of one dialler, in order, and the terms under which the last server was dialled."""

    __slots__ = ("attempts", "terms")

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.terms = PLAIN

    def begins(self, target: Target, use: TlsUse) -> Attempt:
        """A connection is about to be opened."""
        attempt = Attempt(target, use)
        self.attempts.append(attempt)
        return attempt
