"""Who sent this? SPF, DKIM and ARC side by side, and DMARC, which needs the first two (RFC 9989 5.3)."""

from __future__ import annotations

import asyncio

from lockgate.mail.authentication import Authenticated, Spf, SpfVerdict
from lockgate.mail.dkim.canonical import Bodies
from lockgate.mail.headers import Headers, read_headers
from lockgate.probes.trust.allowance import QUESTIONS, SECONDS, Allowance
from lockgate.probes.trust.arc import check_chain
from lockgate.probes.trust.dkim import check_signatures, prepare
from lockgate.probes.trust.dmarc import DmarcCheck
from lockgate.probes.trust.spf.check import check_host
from lockgate.seams import Clock, Resolver

LARGE = 256 * 1024
"""Octets from which on a body is hashed beside the loop."""

_FOR_DMARC = 1 / 3
"""This part of the time is kept for the author's own record, whatever the other look-ups take."""

_SIGNED = frozenset((b"dkim-signature", b"arc-message-signature"))


class SenderCheck:
    """Implements seams.Authenticator. Made once for each process.

    `hostname` is our own name, which explanations of SPF may show. All look-ups of one message together take at most
    `seconds`; those of SPF, DKIM and ARC are at most `questions`, those of DMARC as many. What they leave open is
    temporary.
    """

    def __init__(
        self,
        resolver: Resolver,
        clock: Clock,
        hostname: str,
        *,
        seconds: float = SECONDS,
        questions: int = QUESTIONS,
    ) -> None:
        self._resolver = resolver
        self._clock = clock
        self._hostname = hostname
        self._seconds = seconds
        self._questions = questions

    async def authenticate(self, peer: str, helo: str, sender: str, octets: bytes) -> Authenticated:
        """What proves the sender of a message that `peer` (a textual address) handed over as these octets.

        `sender` is the envelope sender with its domain as A-label; without one ("") SPF checks the HELO name
        (RFC 7208 2.4). Without a peer ("": nobody knows from where it came) SPF says nothing. Never raises for
        what message or DNS say; ValueError if `peer` is no address.
        """
        headers = read_headers(octets)
        bodies = Bodies(octets[headers.end :])
        if len(octets) > LARGE and any(name.lower() in _SIGNED for name, _ in headers.fields):
            await asyncio.to_thread(_hash, headers, bodies)
        now = self._clock.now()
        domain = sender.rpartition("@")[2] if sender else helo
        resolver = Allowance(self._resolver, self._seconds * (1 - _FOR_DMARC), self._questions)
        spf, dkim, arc = await asyncio.gather(
            self._spf(resolver, peer, domain, sender or domain, helo, now),
            check_signatures(resolver, headers, bodies, now),
            check_chain(resolver, headers, bodies),
        )
        # Of its own, so that who makes SPF, DKIM or ARC cost everything does not keep the author's record unread.
        reserve = Allowance(self._resolver, self._seconds * _FOR_DMARC, self._questions)
        return Authenticated(spf, dkim, await DmarcCheck(reserve).check(headers, spf, dkim), arc)

    async def _spf(self, resolver: Allowance, peer: str, domain: str, sender: str, helo: str, now: float) -> Spf:
        if not peer:
            return Spf(SpfVerdict.NONE, domain, problem="it is not known from which address the message came")
        return await check_host(resolver, peer, domain, sender, helo, receiver=self._hostname, now=now)


def _hash(headers: Headers, bodies: Bodies) -> None:
    """Make all hashes that are wanted, so that who asks for them does not wait."""
    prepare(headers, bodies)
    bodies.digest(relaxed=True)
    bodies.digest(relaxed=False)
