"""From a next hop to a connection on which a transaction may begin, or the reason why there is none."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable

from lockgate.couriers.finals import Finals
from lockgate.couriers.hosts import Search, Target, targets
from lockgate.couriers.link import Link
from lockgate.couriers.login import read_secret
from lockgate.couriers.objection import Objection, shown
from lockgate.couriers.reach import Reach
from lockgate.couriers.session_results import SessionResults
from lockgate.couriers.settings import CourierSettings
from lockgate.couriers.terms import Agenda, PolicyKind, Terms, checked, demanded, must_encrypt
from lockgate.couriers.tls import Assurance, SessionKey, TlsUnusable
from lockgate.couriers.witness import Witness
from lockgate.mail import replies
from lockgate.mail.hop import DaneMode, HopKind, NextHop
from lockgate.mail.reply import Reply
from lockgate.seams import Clock, Resolver, StsPolicies, TlsResults, Unreachable
from lockgate.wire.certificates import certificate_facts
from lockgate.wire.smtp.client import Opening, TlsUse, Trouble
from lockgate.wire.tls import TlsPipe
from lockgate.wire.voices import Voices

_FORGED = Terms(PolicyKind.TLSA, result="dnssec-invalid")
"""For a domain whose mail exchangers cannot be believed."""

_MOMENT = 0.005
"""Seconds between two groups of contents that leave while many answers are due."""


class _NoSession(Exception):
    """This server lets nothing begin. `plainly`: without TLS it might (opportunistic only). `weight`: how telling."""

    def __init__(self, reply: Reply, weight: int, *, tls: str = "", plainly: bool = False) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.weight = weight
        self.tls = tls
        self.plainly = plainly


class _Judgement:
    """What is thought of the certificate that one connection shows."""

    def __init__(self, assurance: Assurance, hop: NextHop, target: Target, terms: Terms, key: SessionKey) -> None:
        self._assurance = assurance
        self._hop, self._name, self._terms, self._key = hop, target.name, terms, key
        self.objection: Objection | None = None
        self.missed: Objection | None = None
        self.session = ""

    def __call__(self, pipe: TlsPipe) -> str:
        """Why nothing may leave, "" if it may; the handshake is over."""
        chain = self._assurance.chain(pipe, self._key)
        self.session = f"{pipe.version} {pipe.cipher}"
        if chain:
            self.session += f"; {shown(certificate_facts(chain[0]))}"
        self.objection = self._assurance.objection(self._hop, self._name, self._terms, chain)
        if self._terms.testing and self.objection is None:
            self.missed = self._assurance.misses_test(self._hop, self._name, chain)
        if self.objection is not None:
            return self.objection.why
        self.session += f"; checked by {checked(self._hop, self._terms)}"
        return ""


class Dialler:
    """Opens connections: resolves, checks the address that is dialled, makes TLS as demanded, logs in.

    `sts` and `results` as for SmtpCourier; `witness` is told how each connection is opened (nobody, in delivery).
    """

    def __init__(
        self,
        resolver: Resolver,
        settings: CourierSettings,
        clock: Clock,
        chance: random.Random,
        finals: Finals | None = None,
        *,
        sts: StsPolicies | None = None,
        results: TlsResults | None = None,
        witness: Witness | None = None,
    ) -> None:
        own_names = frozenset([name.rstrip(".").lower() for name in settings.own_names])
        reach = Reach(settings.allowed, settings.own_addresses)
        self._search = Search(resolver, reach, settings.mx_port, own_names, chance)
        self._settings = settings
        self._finals = finals or Finals()
        # A content that is out may be taken at once: its answer is read while others of that turn still leave, and no
        # more leave together than answers can be read in a millisecond or two.
        self._voices = Voices(
            _at_end_of_turn, self._finals.connections, self._finals.look, full=self._finals.full, later=_in_a_moment
        )
        self._sts = sts
        self._results = SessionResults(results, sts)
        self._assurance = Assurance(
            settings.ca_bundle, settings.crl_file, settings.certificate, settings.key, clock,
            watched=witness is not None,
        )  # fmt: skip
        self._witness = witness

    async def dial(self, hop: NextHop, gone: functools.partial[None], avoid: set[Target]) -> Link:
        """A ready connection to the first server that lets one begin. Raises Unreachable.

        `gone` is called with each link when its connection ends. The reason told is the most telling one: a TLS
        demand that is not met says more than a refused connection, and what may be over soon goes before what is for
        good.
        """
        try:
            found = await targets(hop, self._search)
        except Unreachable as trouble:
            if trouble.reply.enhanced == replies.DNS_FORGED and hop.dane is not DaneMode.NONE:
                self._results.note(hop, _FORGED, "", _FORGED.result)
            raise
        agenda = Agenda(hop, self._search.resolver, self._sts)
        refused: set[str] = set()
        worst: tuple[int, Unreachable] | None = None
        dialled = 0
        for target in [target for target in found if target not in avoid]:
            if dialled >= self._settings.hosts:
                break
            terms = await agenda.terms(target)
            if self._witness is not None:
                self._witness.terms = terms
            try:
                if terms.refused is not None:
                    if target.name not in refused:
                        refused.add(target.name)
                        self._results.note(hop, terms, target.name, terms.result)
                    raise _NoSession(terms.refused, 5)
                dialled += 1
                return await self._open(hop, target, terms, gone)
            except _NoSession as trouble:
                if worst is None or trouble.weight >= worst[0]:
                    reply = trouble.reply
                    told = Unreachable(reply, permanent=reply.permanent, host=str(target), tls=trouble.tls)
                    worst = (trouble.weight, told)
        raise worst[1] if worst is not None else Unreachable(replies.CONNECTION_LOST)

    async def _open(self, hop: NextHop, target: Target, terms: Terms, gone: functools.partial[None]) -> Link:
        if must_encrypt(hop, terms):
            return await self._open_with(hop, target, terms, gone, TlsUse.ALWAYS)
        try:
            return await self._open_with(hop, target, terms, gone, TlsUse.IF_OFFERED)
        except _NoSession as trouble:
            # A broken handshake is no reason to hold mail that needs no TLS (RFC 7435); an attack is.
            if not trouble.plainly or hop.login is not None:
                raise
        return await self._open_with(hop, target, terms, gone, TlsUse.NEVER)

    async def _open_with(
        self, hop: NextHop, target: Target, terms: Terms, gone: functools.partial[None], use: TlsUse
    ) -> Link:
        key: SessionKey = (terms.server_name or target.name, target.address, target.port, hop.tls)
        judgement = _Judgement(self._assurance, hop, target, terms, key)
        link = await self._connect(hop, target, terms, gone, use, key, judgement)
        try:
            await link.wait()
        except BaseException:
            link.abort("the attempt was given up")
            raise
        opening = link.opening
        if not link.lost and opening.trouble is None:
            if link.pipe is not None:
                self._assurance.remember(key, link.pipe)
                link.tls = judgement.session
            if use is not TlsUse.NEVER:  # that session was told of when its first handshake broke
                self._results.opened(hop, terms, target.name, link, judgement.missed)
            if hop.require_tls and not opening.offered.require_tls:
                link.quit()
                raise _NoSession(replies.NEEDS_REQUIRETLS, 0, tls=link.tls)
            return link
        if link.making_tls or link.untrusted:
            self._assurance.forget(key)
        self._results.failed(hop, terms, target.name, link, judgement.objection, use)
        reason = _reason(link, use, judgement, demanded(hop, terms))
        if link.attempt is not None:
            link.attempt.why = reason.reply.text
        raise reason

    async def _connect(
        self,
        hop: NextHop,
        target: Target,
        terms: Terms,
        gone: functools.partial[None],
        use: TlsUse,
        key: SessionKey,
        judgement: _Judgement,
    ) -> Link:
        loop = asyncio.get_running_loop()
        assurance = self._assurance
        try:
            login = (hop.login.user, read_secret(hop.login.secret)) if hop.login is not None else None
        except ValueError as trouble:
            secret = replies.SECRET_MISSING
            raise _NoSession(
                Reply(secret.code, secret.enhanced, replies.clean(f"{secret.text}: {trouble}")), 4
            ) from None
        # Settings are tried before dialling, so that their trouble never looks like the server's.
        try:
            opening = Opening(hop.helo, use, login, lmtp=hop.kind is HopKind.LMTP)
            assurance.ready(hop, terms)
        except (ValueError, TlsUnusable) as trouble:
            raise _NoSession(replies.waits(str(trouble)), 4) from None
        patience = self._settings.patience
        link = Link(
            loop, target, opening, patience, self._settings.least_rate,
            lambda: assurance.pipe(hop.tls, key), judgement, gone, self._finals, self._voices,
        )  # fmt: skip
        if self._witness is not None:
            link.attempt = self._witness.begins(target, use)
        try:
            await asyncio.wait_for(_connected(loop, link, hop), patience.connect)
            if link.attempt is not None:
                link.attempt.connected()
        except (OSError, TimeoutError) as trouble:
            if link.attempt is not None:
                link.attempt.errno = trouble.errno or 0
            why = "no answer in time" if isinstance(trouble, TimeoutError) else trouble.strerror or str(trouble)
            raise _NoSession(replies.unreachable(f"No connection to {target}: {why}"), 1) from None
        return link


def _at_end_of_turn(work: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(work)


def _in_a_moment(work: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(_MOMENT, work)


async def _connected(loop: asyncio.AbstractEventLoop, link: Link, hop: NextHop) -> None:
    target = link.target
    if target.is_socket:
        await loop.create_unix_connection(lambda: link, target.address)
        return
    source = hop.source_v6 if ":" in target.address else hop.source_v4
    await loop.create_connection(
        lambda: link, target.address, target.port, local_addr=(source, 0) if source else None
    )


def _reason(link: Link, use: TlsUse, judgement: _Judgement, demand: str) -> _NoSession:
    """Why no transaction may begin on this connection, in our words."""
    host, opening = link.host, link.opening
    said = str(opening.last.reply()) if opening.last is not None else ""
    objection = judgement.objection
    if objection is not None:
        reply = replies.tls_untrusted(host, objection.code, demand, objection.why)
        return _NoSession(reply, 5, tls=judgement.session)
    match opening.trouble:
        case Trouble.TLS_MISSING:
            return _NoSession(replies.tls_missing(host, demand), 5)
        case Trouble.TLS_REFUSED:
            return _NoSession(replies.tls_failed(host, f"STARTTLS was refused ({said})"), 5)
        case Trouble.INJECTED:
            why = "somebody put words between STARTTLS and the handshake"
            return _NoSession(replies.tls_failed(host, why), 5)
        case Trouble.LOGIN_IMPOSSIBLE:
            return _NoSession(replies.LOGIN_IMPOSSIBLE, 4, tls=link.tls)
        case Trouble.LOGIN_REFUSED:
            return _NoSession(replies.login_refused(host, said), 4, tls=link.tls)
        case Trouble.REFUSED:
            return _NoSession(replies.unreachable(f"{host} refused the session: {said}"), 3, tls=link.tls)
        case None:
            if link.making_tls:
                why = link.lost if link.pipe is not None else f"STARTTLS was not answered ({link.lost})"
                return _NoSession(replies.tls_failed(host, why), 5, plainly=use is TlsUse.IF_OFFERED)
            return _NoSession(replies.unreachable(f"{host} let no session begin: {link.lost}"), 2, tls=link.tls)
