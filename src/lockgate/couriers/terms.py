"""Under which terms is a server dialled: what the connector, DNS (DANE) and the domain (MTA-STS) demand of its TLS.

RFC 7672, RFC 8461; DANE goes before MTA-STS (RFC 8461 2). Found out for one attempt, server by server as they are
dialled, so that nothing is asked about servers that nobody dials. For smart hosts nothing is asked at all, unless the
connector says that DANE is mandatory.
"""

from __future__ import annotations

import enum

import msgspec

from lockgate.couriers.dane import NOTHING, Dane, DaneState, discover
from lockgate.couriers.hosts import Target, is_address
from lockgate.mail import replies
from lockgate.mail.hop import DaneMode, NextHop
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import TlsLevel
from lockgate.mail.sts import StsMode, StsPolicy
from lockgate.seams import Resolver, StsPolicies


class PolicyKind(enum.StrEnum):
    """Which policy a session was under (RFC 8460 4.2 policy-type)."""

    TLSA = "tlsa"
    STS = "sts"
    NONE = "no-policy-found"


class Terms(msgspec.Struct, frozen=True):
    """For one server. `refused` says why it may not be dialled, `result` is the word for that (RFC 8460 4.3).

    `sts` is the policy that applies to it, which is none where DANE does; `testing` that a failure is only noted.
    `uncovered`: it is none of the policy's hosts. `server_name` is what is said in SNI, "" for the name dialled.
    """

    kind: PolicyKind = PolicyKind.NONE
    dane: Dane = NOTHING
    sts: StsPolicy | None = None
    refused: Reply | None = None
    result: str = ""
    uncovered: bool = False

    @property
    def proves(self) -> bool:
        """Whether there are records that the certificate has to fit."""
        return self.dane.state is DaneState.USABLE

    @property
    def testing(self) -> bool:
        """Whether the domain wants to hear of failures, and its mail all the same."""
        return self.sts is not None and self.sts.mode is StsMode.TESTING

    @property
    def encrypt(self) -> bool:
        """Whether plain text is out of the question."""
        return self.dane.state in (DaneState.USABLE, DaneState.UNUSABLE) or self.enforced

    @property
    def enforced(self) -> bool:
        """Whether an MTA-STS policy has to be met."""
        return self.sts is not None and self.sts.mode is StsMode.ENFORCE

    @property
    def published(self) -> tuple[str, ...]:
        """What DNS or the domain says, as it says it (RFC 8460 4.4 policy-string)."""
        if self.sts is not None:
            return self.sts.text
        return tuple([f"{r.usage} {r.selector} {r.matching} {r.data.hex()}" for r in self.dane.records])

    @property
    def server_name(self) -> str:
        """RFC 7672 8.1: the name at which the records stand."""
        return self.dane.base


PLAIN = Terms()
"""Nothing but what the next hop demands."""


class Agenda:
    """The terms of one attempt to reach a next hop; each question is asked once."""

    def __init__(self, hop: NextHop, resolver: Resolver, sts: StsPolicies | None) -> None:
        self._hop = hop
        self._resolver = resolver
        self._policies = sts
        self._known: dict[str, Terms] = {}
        self._asked = False
        self._policy: StsPolicy | None = None
        by_mx = bool(hop.mx_domain) and not hop.mx_domain.startswith("[")
        self._domain = hop.mx_domain.lower() if by_mx else ""
        self._dane = hop.dane is DaneMode.MANDATORY or (by_mx and hop.dane is DaneMode.OPPORTUNISTIC)
        self._sts = by_mx and hop.sts and sts is not None

    async def terms(self, target: Target) -> Terms:
        """Those of this server. Never raises."""
        if not (self._dane or self._sts):
            return PLAIN
        known = self._known.get(target.name)
        if known is None:
            known = self._known[target.name] = await self._find(target)
        return known

    async def _find(self, target: Target) -> Terms:
        dane = await self._discover(target) if self._dane else NOTHING
        match dane.state:
            case DaneState.BROKEN:
                reply = replies.dane_failed("4.7.324", f"{target}: {dane.why}")
                return Terms(PolicyKind.TLSA, dane, refused=reply, result="dnssec-invalid")
            case DaneState.UNUSABLE if self._hop.dane is DaneMode.MANDATORY:
                reply = replies.dane_failed("4.7.323", f"{target}: DANE is mandatory, and {dane.why}")
                return Terms(PolicyKind.TLSA, dane, refused=reply, result="tlsa-invalid")
            case DaneState.ABSENT if self._hop.dane is DaneMode.MANDATORY:
                code = "4.7.323" if dane.signed else "4.7.324"
                reply = replies.dane_failed(code, f"{target}: DANE is mandatory, and {dane.why}")
                return Terms(PolicyKind.TLSA, dane, refused=reply, result="dane-required")
            case DaneState.ABSENT:
                return await self._by_policy(target, dane)
            case _:
                return Terms(PolicyKind.TLSA, dane)

    async def _discover(self, target: Target) -> Dane:
        if target.is_socket or is_address(target.name):
            return Dane(DaneState.ABSENT, why="the server is dialled by its address, which has no TLSA record")
        family = self._hop.family
        host = target.name.lower()
        return await discover(self._resolver, host, target.port, domain=self._domain, family=family)

    async def _by_policy(self, target: Target, dane: Dane) -> Terms:
        policy = await self._published()
        if policy is None or policy.mode is StsMode.NONE:
            return Terms(dane=dane)
        covered = policy.covers(target.name.lower())
        if covered or policy.mode is not StsMode.ENFORCE:
            return Terms(PolicyKind.STS, dane, policy, uncovered=not covered)
        hosts = ", ".join(policy.mx[:5]) or "none"
        reply = replies.sts_uncovered(str(target), f"the MTA-STS policy of {self._domain} names {hosts}")
        return Terms(PolicyKind.STS, dane, policy, reply, "validation-failure", uncovered=True)

    async def _published(self) -> StsPolicy | None:
        if not self._asked and self._sts and self._policies is not None:
            self._policy = await self._policies.policy_for(self._domain)
        self._asked = True
        return self._policy


def must_encrypt(hop: NextHop, terms: Terms) -> bool:
    """Whether nothing may be said in clear to this server."""
    return hop.tls.level is not TlsLevel.OPPORTUNISTIC or hop.require_tls or terms.encrypt


def demanded(hop: NextHop, terms: Terms) -> str:
    """All that is demanded of this server, in the words of documents and RFCs; "nothing" if it may stay in clear."""
    level = "" if hop.tls.level is TlsLevel.OPPORTUNISTIC else str(hop.tls.level)
    pinned = "pinned_keys" if hop.tls.pins else ""
    proof = {DaneState.USABLE: "DANE", DaneState.UNUSABLE: "encryption, because of TLSA records"}
    policy = f"MTA-STS policy of {hop.mx_domain}" if terms.enforced else ""
    asked = "REQUIRETLS" if hop.require_tls else ""
    words = (level, pinned, proof.get(terms.dane.state, ""), policy, asked)
    return ", ".join([one for one in words if one]) or "nothing"


def checked(hop: NextHop, terms: Terms) -> str:
    """By what the certificate was looked at, in few words: "nothing" where any would have done."""
    level = str(hop.tls.level) if hop.tls.level in (TlsLevel.CERTIFICATE_VALIDATION, TlsLevel.DOMAIN_VALIDATION) else ""
    pinned, dane = "pinned_keys" if hop.tls.pins else "", "DANE" if terms.proves else ""
    asked = "REQUIRETLS" if hop.require_tls and not terms.proves else ""
    words = [one for one in (level, pinned, dane, "MTA-STS" if terms.enforced else "", asked) if one]
    return " and ".join(words) or "nothing"
