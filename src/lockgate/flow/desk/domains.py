"""Proof of domains at the desk: the TXT record is looked up, and when it was seen is written into the documents."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask, Kind
from lockgate.flow.asking.objects import DomainVerify
from lockgate.flow.desk.objects import Change, ObjectDesk, found, identity, organisation_of, place_of, record_of, row_of
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing
from lockgate.policy.editing import CannotEdit, Edit, changed
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.seams import Clock, DnsNone, DnsTemporary, Resolver

MOST_SHOWN = 10


class DomainDesk(msgspec.Struct, frozen=True):
    """Answers `domain verify`. `resolver` should remember nothing: people publish the record and ask again at once."""

    objects: ObjectDesk
    resolver: Resolver
    clock: Clock

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {DomainVerify: Handler(Right.DOMAINS_AND_CONNECTORS, self.verify)}

    async def verify(self, request: DomainVerify, caller: Caller) -> Answer:
        """Proven if a TXT record of the domain is its proof; an unanswered question proves nothing either way."""
        ground = await self.objects.revising.ground()
        written = found(ground, ("accepted_domain",), request.name, request.organisation)
        domain: AcceptedDomain = written.value
        if not domain.proof:
            raise Misuse(f"{domain.domain_name} has no proof; set one: proof=TEXT (the operator may vouch instead)")
        try:
            records = await self.resolver.txt(domain.domain_name)
        except DnsNone:
            records = ()
        except DnsTemporary as trouble:
            return Answer(Kind.UNREACHABLE, sentence=f"DNS gave no answer, so nothing is proven or lost: {trouble}")
        if domain.proof not in records:
            raise Nothing(_not_yet(domain, records))
        now = dt.datetime.fromtimestamp(int(self.clock.now()), dt.UTC)
        try:
            files = changed(ground.files, place_of(written), Edit({"proven_at": now}))
        except CannotEdit as trouble:
            raise Misuse(str(trouble)) from None
        name, owner = domain.domain_name, organisation_of(written)
        row: dict[str, Any] = {**row_of(written), "proven_at": now.isoformat()}
        change = Change(files, f"domain verify {name}", identity("accepted_domain", owner, name), row)
        return await self.objects.publish(change, ground, request, caller)


def _not_yet(domain: AcceptedDomain, records: tuple[str, ...]) -> str:
    there = ", ".join(f'"{record[:80]}"' for record in records[:MOST_SHOWN]) or "none"
    return (
        f"{domain.domain_name} is not proven: its TXT records are {there}. "
        f"Publish: {record_of(domain.domain_name, domain.proof)}"
    )
