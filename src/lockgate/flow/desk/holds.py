"""Held messages at the desk: list, show, release, delete."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.holds import HoldBody, HoldEdit, HoldList, HoldShow
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing, known_filters
from lockgate.flow.desk.times import moment_before
from lockgate.flow.story import told
from lockgate.mail.headers import message_of
from lockgate.mail.record import Recorder
from lockgate.seams import Audit, Clock, Keeping

FILTERS = ("id", "task", "sender", "recipient", "organisation", "why", "state", "since", "until")
ACTIONS = ("release", "delete")
STATES = ("held", "pending")
MOST_ROWS = 5000
PIECE = 4 * 1024 * 1024
"""Octets of a body in one answer."""


class HoldDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about held messages. Addresses are shown whole: whoever decides has to know about whom."""

    keeping: Keeping
    audit: Audit
    clock: Clock

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            HoldList: Handler(Right.HELD_VIEW, self.list),
            HoldShow: Handler(Right.HELD_VIEW, self.show),
            HoldBody: Handler(Right.HELD, self.body),
            HoldEdit: Handler(Right.HELD, self.edit),
        }

    async def list(self, request: HoldList, caller: Caller) -> Answer:
        """Rows of held tasks, newest first."""
        if not 1 <= request.limit <= MOST_ROWS:
            raise Misuse(f"between 1 and {MOST_ROWS} rows can be asked for")
        filters = self._filters(request.filters)
        return Answer(result=[*await self.keeping.hold_list(filters, request.limit, request.below)])

    async def show(self, request: HoldShow, caller: Caller) -> Answer:
        """One message with its header fields, cleaned of what could move a cursor; never its body."""
        found = await self.keeping.hold_show(request.id)
        if found is None:
            raise Nothing(f"no message {request.id[:80]} is held")
        head = bytes(found["head"])
        fields = message_of(request.id, head, len(head), "").fields if head else ()
        headers = [{"name": _clean(name), "value": _clean(value)} for name, value in fields]
        known, steps = told(Recorder(), found["stories"])
        said = {"id": request.id, "rows": [*found["rows"]], "headers": headers, "known": known, "explanation": steps}
        if not head:
            said["body"] = "the body cannot be read; the log says more"
        return Answer(result=said)

    async def body(self, request: HoldBody, caller: Caller) -> Answer:
        """A piece of the body; whoever reads a message leaves a trace in the audit."""
        rows = await self.keeping.hold_list({"id": request.id}, 1)
        content = await self.keeping.hold_body(rows[0]["task"]) if rows else None
        if content is None:
            raise Nothing(f"no message {request.id[:80]} is held, or its body cannot be read")
        if not 0 <= request.start <= len(content):
            raise Misuse(f"the body has {len(content)} octets")
        if request.start == 0:
            self.audit.wrote(caller.name, "hold read", for_id=request.id, organisation=rows[0]["organisation"])
        piece = base64.b64encode(content[request.start : request.start + PIECE]).decode()
        return Answer(result={"octets": piece, "size": len(content)})

    async def edit(self, request: HoldEdit, caller: Caller) -> Answer:
        """Release or delete; without a filter nothing is touched, because "everything" is rarely meant."""
        if request.action not in ACTIONS:
            raise Misuse(f"held mail can be {' or '.join(ACTIONS)}d, not '{request.action[:40]}'")
        filters = self._filters(request.filters)
        if filters.pop("state", "held") != "held":
            raise Misuse("mail that waits for the judge goes on by itself; `queue retry` has it judged now")
        if not filters:
            raise Misuse("say which messages: an id, or --sender, --recipient, --organisation, --why, --since, --until")
        rows = [*await self.keeping.hold_list({**filters, "state": "held"}, MOST_ROWS)]
        if not rows:
            raise Nothing("nothing that is held matches")
        if request.what_if:
            count = await self._count(filters, rows)
            said = {"action": request.action, "what_if": True, "count": count, "held": rows}
            cut = f"the first {len(rows)} of {count} held tasks are shown" if count > len(rows) else ""
            return Answer(result=said, sentence=cut)
        count = await self.keeping.queue_edit(request.action, {**filters, "held": "yes"}, caller.name)
        noted: dict[str, Any] = {f"for_{key}": value for key, value in filters.items()}
        self.audit.wrote(caller.name, f"hold {request.action}", count=count, **noted)
        return Answer(result={"action": request.action, "what_if": False, "count": count})

    async def _count(self, filters: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> int:
        """How many are held, these rows being the first of them."""
        count = len(rows)
        while len(rows) == MOST_ROWS:
            rows = await self.keeping.hold_list({**filters, "state": "held"}, MOST_ROWS, rows[-1]["task"])
            count += len(rows)
        return count

    def _filters(self, given: Mapping[str, str]) -> dict[str, str]:
        known = known_filters(given, FILTERS)
        for name in ("since", "until"):
            if name in known:
                known[name] = repr(moment_before(known[name], self.clock.now()))
        if known.get("state", "held") not in STATES:
            raise Misuse(f"held mail is {' or '.join(STATES)}, not '{known['state'][:40]}'")
        return known


def _clean(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
