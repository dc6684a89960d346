"""Asks a next hop whether it would take a recipient, over kept connections of its own; no mail is carried."""

from __future__ import annotations

import functools
import random

import msgspec

from lockgate.couriers.dial import Dialler
from lockgate.couriers.lane import Lane
from lockgate.couriers.link import Link
from lockgate.couriers.settings import CourierSettings
from lockgate.mail import replies
from lockgate.mail.hop import CargoRecipient, NextHop
from lockgate.seams import Asked, Clock, Resolver, StsPolicies, TlsResults, Unreachable
from lockgate.wire.smtp.client import rcpt_command
from lockgate.wire.smtp.inquiry import Inquiry

CONNECTIONS = 4
"""To one next hop, of one worker; delivery has its own."""


class SmtpVerifier:
    """Implements seams.Verifier: the address is resolved, dialled and secured exactly as for delivery."""

    def __init__(
        self,
        resolver: Resolver,
        settings: CourierSettings,
        clock: Clock,
        *,
        chance: random.Random | None = None,
        sts: StsPolicies | None = None,
        results: TlsResults | None = None,
    ) -> None:
        self._settings = settings
        self._dialler = Dialler(
            resolver, settings, clock, chance or random.SystemRandom(), sts=sts, results=results
        )
        self._lanes: dict[str, Lane] = {}
        self._closing = False

    async def verify(self, hop: NextHop, address: str) -> Asked:
        """See Verifier."""
        lane = self._lane(msgspec.structs.replace(hop, concurrency=min(CONNECTIONS, max(hop.concurrency, 1))))
        again = True
        while True:
            link = await self._link(lane)
            fresh = link.carried == 0
            asked = await self._ask(lane, link, address)
            if asked is not None:
                return asked
            if fresh or not again:
                raise Unreachable(replies.CONNECTION_LOST, host=link.host, tls=link.tls)
            again = False  # a kept connection had died meanwhile; one more try on a new one

    async def close(self) -> None:
        """Say QUIT on all idle connections."""
        self._closing = True
        for lane in self._lanes.values():
            lane.retire()

    async def _ask(self, lane: Lane, link: Link, address: str) -> Asked | None:
        """The answers, or None if the connection broke before there was one."""
        if not address.isascii() and not link.opening.offered.utf8:
            lane.release(link, keep=True)
            return Asked(replies.SENDER_OK, replies.NEEDS_UTF8, link.host)
        try:
            inquiry = Inquiry(rcpt_command(CargoRecipient(address), link.opening.offered), reset=link.unclean)
        except ValueError as trouble:
            lane.release(link, keep=True)
            return Asked(replies.SENDER_OK, replies.bad_recipient(str(trouble)), link.host)
        try:
            link.begin(inquiry, lambda: None)
            await link.wait()
        except BaseException:
            link.abort("the question was given up")
            raise
        mail, rcpt = inquiry.mail, inquiry.rcpt
        lane.release(link, keep=link.carried < self._settings.messages and not self._closing)
        if mail is None or (mail.good and rcpt is None):
            return None
        return Asked(mail.reply(), rcpt.reply() if rcpt is not None else None, link.host)

    def _lane(self, hop: NextHop) -> Lane:
        lane = self._lanes.get(hop.lane)
        if lane is not None and lane.hop == hop:
            return lane
        if lane is not None:
            lane.retire()
        fresh = self._lanes[hop.lane] = Lane(hop)
        return fresh

    async def _link(self, lane: Lane) -> Link:
        while True:
            link = lane.spare()
            if link is not None:
                return link
            if lane.may_dial():
                return await self._dial(lane)
            await lane.turn()

    async def _dial(self, lane: Lane) -> Link:
        if self._closing:
            raise Unreachable(replies.SHUTTING_DOWN)
        lane.dialling += 1
        try:
            link = await self._dialler.dial(lane.hop, functools.partial(self._gone, lane), set())
        except BaseException:
            lane.dialling -= 1
            lane.wake()
            self._tidy(lane)
            raise
        lane.dialling -= 1
        lane.links.add(link)
        return link

    def _gone(self, lane: Lane, link: Link) -> None:
        lane.gone(link)
        self._tidy(lane)

    def _tidy(self, lane: Lane) -> None:
        if lane.unused and self._lanes.get(lane.hop.lane) is lane:
            del self._lanes[lane.hop.lane]
