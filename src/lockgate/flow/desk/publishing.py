"""What an accepted domain has to publish so that others send to it safely, and whether DNS and web server say so.

MX (RFC 5321 5.1), MTA-STS (RFC 8461), TLS reports (RFC 8460), TLSA (RFC 7672 3.1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.tls import DomainDns
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing
from lockgate.mail.certificate_names import name_covered
from lockgate.mail.dkim.published import TTL, zone_line
from lockgate.mail.dns import DnsAnswer, DnsState, MxHost
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.policy import Policy
from lockgate.policy.publishing import Published, is_covered, mail_hosts, published, report_record
from lockgate.policy.spelling import domain as spelled
from lockgate.seams import Resolver, Unavailable

Row = dict[str, Any]
MOST_SHOWN = 20
OK, MISSING, DIFFERENT, UNKNOWN, UNTOLD = "ok", "missing", "different", "unknown", "not ours"


class ShownKey(msgspec.Struct, frozen=True):
    """A key of ours: the file, the names of its certificate (() for a key alone), SHA-256 of its SPKI in hexadecimal.

    `following`: it is not shown yet but will be next.
    """

    file: str
    names: tuple[str, ...]
    spki: str
    following: bool = False


class PublishDesk(msgspec.Struct, frozen=True):
    """Answers `domain dns`. `resolver` should remember nothing; `fetch` gets a policy as others do (raising Exception
    with a sentence); `keys` are those of our certificates (raising OSError, ValueError); `served`: there is a listener
    for policies here.
    """

    policy: Callable[[], Awaitable[Policy]]
    resolver: Resolver
    fetch: Callable[[str], Awaitable[bytes]]
    keys: Callable[[], Sequence[ShownKey]]
    served: bool

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {DomainDns: Handler(Right.POLICY_VIEW, self.dns)}

    async def dns(self, request: DomainDns, caller: Caller) -> Answer:
        """Every line, what is there instead, and what to do."""
        policy = await self.policy()
        domain, addresses = _wanted(policy, request)
        try:
            keys = tuple(await asyncio.to_thread(self.keys))
        except (OSError, ValueError) as trouble:
            raise Unavailable(f"the keys of our certificates cannot be read: {trouble}") from None
        ours = published(domain, policy.hostname)
        hosts = mail_hosts(domain, policy.hostname)
        named = [host for host in hosts if not host.startswith("*.")]
        rows = await asyncio.gather(
            self._mx(domain, hosts, named),
            self._sts_record(domain, ours),
            *([self._sts_policy(ours, keys)] if ours is not None else []),
            self._reports(domain, addresses),
            *[self._tlsa(host, keys) for host in named],
        )
        return Answer(
            result={
                "domain": domain.domain_name,
                "organisation": domain.organisation,
                "policy": ours.text if ours is not None else "",
                "policy_url": f"https://{ours.host}/.well-known/mta-sts.txt" if ours is not None else "",
                "served_here": self.served,
                "lines": list(rows),
                "wrong": any(row["wrong"] for row in rows),
                "silent": any(row["state"] == UNKNOWN for row in rows),
            }
        )

    async def _mx(self, domain: AcceptedDomain, hosts: tuple[str, ...], named: list[str]) -> Row:
        name = domain.domain_name
        values = [f"10 {host}." for host in named]
        answer = await self.resolver.look_up(name, "MX")
        there = [host.name for host in answer.records if isinstance(host, MxHost)]
        row = _row("MX", name, values, answer, [host or "." for host in there], needed=not domain.outbound_only)
        others = [host for host in there if not is_covered(host, hosts)]
        if row["state"] != UNKNOWN and there:
            row["state"] = DIFFERENT if others else OK
            said = f"mail also goes to {', '.join(others[:5]) or 'nobody'}; if it is meant to, name it in mta_sts_mx"
            row["said"] = said if others else ""
        return _judged(row)

    async def _sts_record(self, domain: AcceptedDomain, ours: Published | None) -> Row:
        name = f"_mta-sts.{domain.domain_name}"
        answer = await self.resolver.look_up(name, "TXT")
        there = [str(text) for text in answer.records if str(text).startswith("v=STSv1")]
        wanted = [ours.record] if ours is not None else []
        row = _row("TXT", name, wanted, answer, there, needed=ours is not None)
        if ours is None:
            row["said"] = (
                "it is published, but no policy is set here; withdraw it with mta_sts_mode=none first"
                if there
                else f"no policy is set; begin with `lockgate domain set {domain.domain_name} mta_sts_mode=testing`"
            )
            row["state"] = DIFFERENT if there else row["state"]
        return _judged(row)

    async def _sts_policy(self, ours: Published, keys: Sequence[ShownKey]) -> Row:
        """The policy as others get it, and whether a certificate of ours could be shown for it."""
        url = f"https://{ours.host}/.well-known/mta-sts.txt"
        row: Row = {
            "type": "HTTPS", "name": url, "values": ours.text.splitlines(), "zone": [], "found": [], "needed": True,
            "state": MISSING, "said": "",
        }  # fmt: skip
        try:
            text = (await self.fetch(ours.domain)).decode("utf-8", "replace")
            row["found"] = text.splitlines()[:MOST_SHOWN]
            row["state"] = OK if row["found"] == row["values"] else DIFFERENT
        except Exception as trouble:  # a sentence for people, whatever went wrong
            row["said"] = str(trouble)
        bears = any(name_covered(ours.host, key.names) for key in keys if not key.following)
        if row["state"] != OK and self.served and not bears:
            row["said"] += f"; none of our certificates bears the name {ours.host}"
        elif row["state"] != OK and not self.served:
            row["said"] += "; it is not served here: set mta_sts.port in the operator's file, or put it on a web server"
        row["said"] = row["said"].removeprefix("; ")
        return _judged(row)

    async def _reports(self, domain: AcceptedDomain, addresses: tuple[str, ...]) -> Row:
        name, wanted = f"_smtp._tls.{domain.domain_name}", report_record(addresses)
        answer = await self.resolver.look_up(name, "TXT")
        there = [str(text) for text in answer.records if str(text).startswith("v=TLSRPTv1")]
        row = _row("TXT", name, [wanted] if wanted else [], answer, there, needed=bool(wanted))
        if not wanted:
            row["state"] = OK if there else row["state"]
            row["said"] = "no address for reports is set (report_addresses of the organisation)"
        return _judged(row)

    async def _tlsa(self, host: str, keys: Sequence[ShownKey]) -> Row:
        """The keys of one host. With DNSSEC a wrong record keeps mail away; without it nobody looks at any."""
        name = f"_25._tcp.{host}"
        ours = [key for key in keys if not key.following and name_covered(host, key.names) is not None]
        following = [key for key in keys if key.following and (not key.names or name_covered(host, key.names))]
        values = list(dict.fromkeys([f"3 1 1 {key.spki}" for key in [*ours, *following]]))
        answer = await self.resolver.look_up(name, "TLSA")
        there = [" ".join(str(record).lower().split()) for record in answer.records]
        row = _row("TLSA", name, values, answer, there, needed=False)
        secure = answer.validated
        shown = {f"3 1 1 {key.spki}" for key in ours}
        if not ours:
            row["said"] = f"none of our certificates bears the name {host}; it is shown by another server, or nobody"
            row["state"] = UNTOLD
        elif there and row["state"] != UNKNOWN:
            row["state"], row["said"] = _compared(shown, set(values), set(there))
        elif row["state"] == MISSING:
            row["said"] = "DANE is not used for this host" + ("" if secure else "; its zone is not signed by DNSSEC")
        if there and not secure and row["state"] != UNKNOWN:
            row["said"] = f"{row['said']}; the answer is not proven by DNSSEC, so nobody looks at it".removeprefix("; ")
        return _judged(row)


def _compared(shown: set[str], values: set[str], there: set[str]) -> tuple[str, str]:
    """State and sentence where there are TLSA records."""
    if not shown <= there:
        return DIFFERENT, (
            "a key that is shown now is not among them: servers that use DANE send nothing here. Publish it at once"
        )
    if not values <= there:
        return DIFFERENT, (
            "the next key is missing: publish it, wait for twice the TTL, only then change the certificate"
        )
    if extra := there - values:
        return OK, f"{len(extra)} of them are of other keys; take them out once those are never shown again"
    return OK, "before the keys change name the next one in mta_sts.next_keys, publish it, and wait twice the TTL"


def _wanted(policy: Policy, request: DomainDns) -> tuple[AcceptedDomain, tuple[str, ...]]:
    """The domain that is meant, and where its organisation reads reports. Raises Misuse, Nothing."""
    try:
        name = spelled(request.domain)
    except ValueError as trouble:
        raise Misuse(str(trouble)) from None
    found = [
        (domain, mine.organisation.report_addresses)
        for owner, mine in policy.organisations.items()
        for domain in mine.accepted
        if domain.domain_name == name and request.organisation in ("", owner)
    ]
    if not found:
        raise Nothing(f"{name} is no accepted domain")
    if len(found) > 1:
        raise Misuse(f"several organisations have {name}; say which: --organisation")
    return found[0]


def _row(kind: str, name: str, values: list[str], answer: DnsAnswer, there: list[str], *, needed: bool) -> Row:
    state = OK if set(values) <= set(there) and values else MISSING
    if there and state == MISSING:
        state = DIFFERENT
    said = ""
    if answer.state in (DnsState.TEMPORARY, DnsState.BOGUS):
        state, said = UNKNOWN, f"DNS gave no answer: {answer.why}"
    zone = [zone_line(name, value) if kind == "TXT" else f"{name}. {TTL} IN {kind} {value}" for value in values]
    return {
        "type": kind, "name": name, "values": values, "zone": zone, "found": there[:MOST_SHOWN], "needed": needed,
        "state": state, "said": said,
    }  # fmt: skip


def _judged(row: Row) -> Row:
    """What is different is always wrong, what is missing only where it is needed."""
    row["wrong"] = row["state"] == DIFFERENT or (row["needed"] and row["state"] == MISSING)
    return row
