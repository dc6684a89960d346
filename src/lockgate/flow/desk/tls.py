"""What another domain demands of those who send to it, at the desk: MTA-STS and DANE, as they are now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.tls import TlsPolicy
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse
from lockgate.mail.dns import DnsAnswer, DnsState, MxHost
from lockgate.mail.sts import StsLook, StsMode, StsPolicy
from lockgate.policy.spelling import domain as spelled
from lockgate.seams import Clock, Resolver, Unavailable

Row = dict[str, Any]
MOST_HOSTS = 20
MOST_RECORDS = 20


class Look(Protocol):
    """Looks at the MTA-STS policy of a domain now. Raises OSError."""

    def __call__(self, domain: str, *, fetch: bool) -> Awaitable[StsLook]:
        """With `fetch` the policy is fetched in any case."""


class TlsDesk(msgspec.Struct, frozen=True):
    """Answers `tls policy`. `obeyed`: the operator has MTA-STS policies of others obeyed."""

    look: Look
    resolver: Resolver
    clock: Clock
    obeyed: bool

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {TlsPolicy: Handler(Right.POLICY_VIEW, self.policy)}

    async def policy(self, request: TlsPolicy, caller: Caller) -> Answer:
        """TXT record, policy, and each mail host with its TLSA records and whether the policy covers it."""
        try:
            domain = spelled(request.domain)
        except ValueError as trouble:
            raise Misuse(str(trouble)) from None
        try:
            look, hosts = await asyncio.gather(
                self.look(domain, fetch=request.fetch), self.resolver.look_up(domain, "MX")
            )
        except OSError as trouble:
            raise Unavailable(f"the kept policies cannot be read: {trouble}") from None
        now = self.clock.now()
        policy = look.kept.alive(now) if look.kept is not None else None
        rows = await asyncio.gather(*[self._host(host, policy) for host in _exchangers(domain, hosts)])
        sts = _sts(look, policy, now)
        return Answer(
            result={
                "domain": domain,
                "obeyed": self.obeyed,
                "mta_sts": sts,
                "mx_dnssec": hosts.state.value,
                "hosts": list(rows),
                "troubles": _troubles(look, policy, hosts, rows),
            }
        )

    async def _host(self, host: MxHost, policy: StsPolicy | None) -> Row:
        answer = await self.resolver.look_up(f"_25._tcp.{host.name}", "TLSA")
        covered = policy.covers(host.name) if policy is not None and policy.mode is not StsMode.NONE else None
        return {
            "name": host.name,
            "preference": host.preference,
            "covered": covered,
            "tlsa": [str(record) for record in answer.records[:MOST_RECORDS]],
            "dnssec": answer.state.value,
            "dnssec_proven": answer.validated,
            "why": answer.why,
        }


def _exchangers(domain: str, answer: DnsAnswer) -> list[MxHost]:
    """The mail hosts, best first; without MX the domain itself (RFC 5321 5.1), with a null MX none."""
    found = [host for host in answer.records if isinstance(host, MxHost)]
    if not found:
        return [] if answer.state in (DnsState.NONE, DnsState.TEMPORARY, DnsState.BOGUS) else [MxHost(0, domain)]
    return [host for host in found if host.name][:MOST_HOSTS]


def _sts(look: StsLook, policy: StsPolicy | None, now: float) -> Row:
    kept = look.kept
    last = kept.policy if kept is not None else None
    return {
        "txt": list(look.records[:MOST_RECORDS]),
        "id": look.announced,
        "silent": look.silent,
        "in_force": policy is not None,
        "source": "" if policy is None else "fetched now" if look.fetched_now else "kept",
        "mode": last.mode.value if last is not None else "",
        "mx": list(last.mx) if last is not None else [],
        "policy_id": last.id if last is not None else "",
        "text": list(last.text) if last is not None else [],
        "fetched": kept.fetched if kept is not None and last is not None else None,
        "until": last.until if last is not None else None,
        "expired": last is not None and now >= last.until,
        "fetch_failed": look.trouble or (kept.why if kept is not None else ""),
        "failed_at": now if look.trouble else (kept.failed or None) if kept is not None else None,
    }


def _troubles(look: StsLook, policy: StsPolicy | None, hosts: DnsAnswer, rows: list[Row]) -> list[str]:
    """What keeps mail from going there as the domain wants it, in sentences."""
    found: list[str] = []
    if hosts.state in (DnsState.TEMPORARY, DnsState.BOGUS):
        found.append(f"DNS does not tell the mail hosts: {hosts.why}")
    if look.trouble:
        found.append(f"the policy could not be fetched: {look.trouble}")
    if policy is not None and policy.mode is not StsMode.NONE:
        beyond = [str(row["name"]) for row in rows if row["covered"] is False]
        if beyond:
            then = "no mail goes there" if policy.mode is StsMode.ENFORCE else "only reported, the mode is testing"
            found.append(f"the policy does not cover {', '.join(beyond)} ({then})")
    silent = [row for row in rows if row["dnssec"] in (DnsState.BOGUS.value, DnsState.TEMPORARY.value)]
    found += [f"the TLSA records of {row['name']} cannot be found out, so mail waits: {row['why']}" for row in silent]
    return found
