"""The message trace at the desk: find rows, tell the story of one message."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.traces import TraceFind, TraceFollow, TraceShow
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing, known_filters
from lockgate.flow.desk.times import moment_before
from lockgate.flow.story import told
from lockgate.mail.events import Status
from lockgate.mail.record import Recorder
from lockgate.seams import Clock, Keeping

FILTERS = (
    "sender", "recipient", "sender_domain", "recipient_domain", "id", "message_id", "ip", "from_ip", "to_ip",
    "connector", "inbound_connector", "outbound_connector", "rule", "status", "revision", "pool", "subject",
    "organisation", "since", "until",
)  # fmt: skip
_RECORDED = frozenset({"stories", "refusals"})
MOST_ROWS = 5000
"""Rows of one answer (specification 1.18)."""


class TraceDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about the trace."""

    keeping: Keeping
    clock: Clock

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            TraceFind: Handler(Right.RECIPIENTS_VIEW, self.find),
            TraceFollow: Handler(Right.RECIPIENTS_VIEW, self.follow),
            TraceShow: Handler(Right.RECIPIENTS_VIEW, self.show),
        }

    async def find(self, request: TraceFind, caller: Caller) -> Answer:
        """Trace rows; `since` and `until` may be "2h" ago, a date and time (RFC 3339), or seconds since the epoch."""
        known = self._filters(request.filters)
        if not 1 <= request.limit <= MOST_ROWS:
            raise Misuse(f"between 1 and {MOST_ROWS} rows can be asked for")
        try:
            return Answer(result=list(await self.keeping.trace_find(known, request.limit, request.after)))
        except ValueError as trouble:
            raise Misuse(str(trouble)) from None

    async def follow(self, request: TraceFollow, caller: Caller) -> Answer:
        """What has happened since the mark."""
        known = self._filters(request.filters)
        try:
            rows, mark = await self.keeping.trace_follow(known, request.mark)
        except ValueError as trouble:
            raise Misuse(str(trouble)) from None
        return Answer(result={"rows": [*rows], "mark": mark})

    def _filters(self, given: Mapping[str, str]) -> dict[str, str]:
        known = known_filters(given, FILTERS)
        for name in ("since", "until"):
            if name in known:
                known[name] = repr(moment_before(known[name], self.clock.now()))
        if "status" in known:
            known["status"] = _status(known["status"])
        return known

    async def show(self, request: TraceShow, caller: Caller) -> Answer:
        """One message by its id (a refusal by that of its connection): rows, events, what was known, and why."""
        found = await self.keeping.trace_show(request.id)
        if found is None:
            raise Nothing(f"no message has the id {request.id[:80]}")
        plain = {name: value for name, value in found.items() if name not in _RECORDED}
        known, steps = told(Recorder(), found.get("stories") or {})
        return Answer(result={**plain, "known": known, "explanation": steps})


def _status(word: str) -> str:
    for status in Status:
        if status.value.casefold() == word.casefold():
            return status.value
    raise Misuse(f"'{word[:40]}' is no status; there are {', '.join(status.value for status in Status)}")
