"""Where a domain wants its reports, and whether those places agree to get them (RFC 9990 4, RFC 9991 3).

The record is asked for anew: what a domain wants is what it says when a report is sent. A destination outside the
domain's organisation has to publish its consent, else anybody could have somebody else flooded with reports.
"""

from __future__ import annotations

from lockgate.mail.address import AddressError, parse_address
from lockgate.mail.dmarc import DmarcRecord, organisational_domain, read_record
from lockgate.mail.reports.destination import Destination
from lockgate.probes.trust.dmarc import DmarcCheck
from lockgate.seams import DnsNone, Resolver

MOST = 5
"""Addresses of one domain that reports are sent to."""


class ReportDestinations:
    """Made once for each process."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._records = DmarcCheck(resolver)

    async def aggregate(self, domain: str) -> tuple[Destination, ...]:
        """Who wants aggregate reports about this domain, which has a record of its own. Raises DnsTemporary."""
        record = (await self._records.records(domain)).get(domain)
        if record is None:
            return ()
        limits = record.limits or (0,) * len(record.aggregate)
        named = list(zip(record.aggregate, limits, strict=True))
        return tuple([await self._destination(domain, address, limit, "rua") for address, limit in named[:MOST]])

    async def failure(self, domain: str) -> tuple[Destination, ...]:
        """Who wants failure reports about it. Raises DnsTemporary."""
        record = (await self._records.records(domain)).get(domain)
        if record is None:
            return ()
        return tuple([await self._destination(domain, address, 0, "ruf") for address in record.failure[:MOST]])

    async def _destination(self, domain: str, text: str, limit: int, tag: str) -> Destination:
        try:
            address = parse_address(text)
        except AddressError as trouble:
            return Destination(text[:254], limit, f"it is no address: {trouble}")
        host = address.domain
        if host.startswith("["):
            return Destination(address.text, limit, "an address without a domain cannot agree to get reports")
        if await self._organisation(host) == await self._organisation(domain):
            return Destination(address.text, limit)
        record, asked = await self._consent(domain, host)
        if record is None:
            return Destination(address.text, limit, f"{host} does not agree to get them (no record at {asked})")
        if not (other := getattr(record, "aggregate" if tag == "rua" else "failure")):
            return Destination(address.text, limit)
        return _replaced(address.text, host, other[0], record.limits[0] if tag == "rua" and record.limits else 0)

    async def _organisation(self, domain: str) -> str:
        return organisational_domain(domain, await self._records.records(domain))

    async def _consent(self, domain: str, host: str) -> tuple[DmarcRecord | None, str]:
        name = f"{domain}._report._dmarc.{host}"
        if len(name) > 253:
            return None, name[:100]
        try:
            texts = await self._resolver.txt(name)
        except DnsNone:
            return None, name
        found = [record for text in texts if (record := read_record(text)) is not None]
        return (found[0] if len(found) == 1 else None), name


def _replaced(text: str, host: str, other: str, limit: int) -> Destination:
    """The address that the destination names instead; it may not point at yet another one."""
    try:
        address = parse_address(other)
    except AddressError:
        return Destination(text, 0, f"{host} names another address that is none")
    if address.domain != host:
        return Destination(text, 0, f"{host} names an address at {address.domain} instead, which is not allowed")
    return Destination(address.text, limit)
