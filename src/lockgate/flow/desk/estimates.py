"""Edge blocking at the desk: who would have been refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.recipients import RecipientEstimate
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing
from lockgate.flow.unlisted import DAY, DAYS, Estimate, Unlisted, summed
from lockgate.mail.address import AddressError, parse_domain
from lockgate.mail.findings import Known
from lockgate.policy.policy import Policy
from lockgate.seams import Clock, Directory


class EstimateDesk(msgspec.Struct, frozen=True):
    """Answers what edge blocking would do; `counted` gives what the workers have counted."""

    directory: Directory
    clock: Clock
    policy: Callable[[], Policy]
    counted: Callable[[], Sequence[Estimate]]

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {RecipientEstimate: Handler(Right.RECIPIENTS_VIEW, self.estimate)}

    async def estimate(self, request: RecipientEstimate, caller: Caller) -> Answer:
        """Unknown addresses that got mail in the last days, those named most first."""
        if not 1 <= request.days <= DAYS:
            raise Misuse(f"counts are kept for {DAYS} days")
        try:
            accepted = self.policy().accepted(parse_domain(request.domain.rstrip(".")))
        except AddressError as trouble:
            raise Misuse(f"'{request.domain[:80]}': {trouble}") from None
        if accepted is None:
            raise Nothing(f"{request.domain} is no accepted domain that receives")
        since = int(self.clock.now() // DAY) - request.days + 1
        organisation, domain = accepted.organisation, accepted.domain_name
        parts = await asyncio.to_thread(self.counted)
        total, others = summed(parts, organisation, domain, since)
        unknown = {address: one for address, one in total.items() if self._still_unknown(organisation, address)}
        ranked = sorted(unknown.items(), key=lambda pair: (-pair[1].count(since), pair[0]))
        messages = sum(one.count(since) for one in unknown.values())
        mode = str(accepted.edge_blocking)
        return Answer(
            result={
                "organisation": organisation,
                "domain": domain,
                "domain_type": str(accepted.domain_type),
                "edge_blocking": mode,
                "days": request.days,
                "unknown": len(unknown),
                "messages": messages,
                "known_by_now": len(total) - len(unknown),
                "others": others,
                "shown": min(len(ranked), request.limit),
                "addresses": [_row(address, one, since) for address, one in ranked[: request.limit]],
                "sentence": _sentence(domain, mode, request.days, len(unknown), messages, others),
            }
        )

    def _still_unknown(self, organisation: str, address: str) -> bool:
        known = self.directory.who_is(organisation, address)
        return not (isinstance(known, Known) and known.who is not None)


def _row(address: str, one: Unlisted, since: int) -> dict[str, object]:
    return {
        "address": address,
        "count": one.count(since),
        "last_sender": one.last_sender,
        "first_seen": one.first_seen,
        "last_seen": one.last_seen,
    }


def _sentence(domain: str, mode: str, days: int, unknown: int, messages: int, others: int) -> str:
    if mode == "enforce" and not unknown:
        return f'Nothing is counted for {domain}, because its edge_blocking is "enforce"; "observe" counts.'
    period = "today" if days == 1 else f"in the last {days} days"
    said = f"{messages} messages to {unknown} addresses of {domain} would have been refused {period}."
    if others:
        said += f" {others} more messages of the organisation went to addresses that are not kept."
    if mode != "enforce" and not unknown:
        said += ' To enforce it, set edge_blocking = "enforce".'
    return said
