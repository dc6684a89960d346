"""Everything a face may ask for, in one object: queue, trace, status, policy, recipients; every write is audited."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from lockgate.flow.asking import (
    Answer,
    Kind,
    QueueEdit,
    QueueList,
    RecipientFind,
    RecipientImport,
    Reload,
    Request,
    StatusAsk,
    TraceFind,
    TraceShow,
)
from lockgate.flow.recipients import Entry, read_recipients
from lockgate.flow.story import told
from lockgate.mail.address import AddressError, parse_address
from lockgate.mail.events import Status
from lockgate.mail.findings import Unknown
from lockgate.mail.record import Recorder
from lockgate.policy.documents import Invalid, Problem
from lockgate.seams import Clock, Directory, Journal, Keeping, Unavailable

QUEUE_FILTERS = ("lane", "id", "task", "sender", "recipient")
TRACE_FILTERS = ("sender", "recipient", "id", "ip", "status", "organisation", "since", "until", "subject")
ACTIONS = ("retry", "hold", "release", "delete")
MOST_ROWS = 5000
"""Rows of one answer (specification 1.18)."""

_AGO = re.compile(r"(\d+)\s*([smhd])")
_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Misuse(Exception):
    """The request makes no sense; the message says why, in words for the person who made it."""


class Nothing(Exception):
    """What was asked about is not there; the message says so."""


class Desk(msgspec.Struct, frozen=True):
    """Answers requests of people who were let in; wired once by the app.

    `status` gives facts of the running service (JSON-ready; must not raise), `alarms` the last alarms, newest last.
    `check` compiles the policy documents without using them and `reload` puts them in force; both return what is to be
    said of the result (revision, digest, ...) and raise Invalid. `store` puts an organisation's recipients in the place
    of the earlier ones and returns the directory's revision; `organisations` names those of the policy in force.
    """

    keeping: Keeping
    directory: Directory
    clock: Clock
    journal: Journal
    status: Callable[[], Awaitable[Mapping[str, Any]]]
    alarms: Callable[[int], Sequence[Mapping[str, Any]]]
    check: Callable[[], Awaitable[Mapping[str, Any]]]
    reload: Callable[[], Awaitable[Mapping[str, Any]]]
    store: Callable[[str, Sequence[Entry]], Awaitable[int]]
    organisations: Callable[[], Sequence[str]]

    async def answer(self, request: Request, by: str) -> Answer:
        """Do what is asked; `by` ("uid name") is who asks. Never raises: every failure is an answer in words."""
        try:
            return await self._do(request, by)
        except Misuse as trouble:
            return Answer(Kind.MISUSE, sentence=str(trouble))
        except Nothing as trouble:
            return Answer(Kind.FINDING, sentence=str(trouble))
        except Invalid as trouble:
            found = [problem_row(problem) for problem in trouble.problems]
            return Answer(Kind.FINDING, {"problems": found}, f"{len(found)} mistakes, nothing was changed")
        except Unavailable as trouble:
            return Answer(Kind.UNREACHABLE, sentence=f"the keeper cannot answer now: {trouble}")
        except Exception as trouble:
            self.journal.alarm("unforeseen", at="desk", by=by, trouble=trouble)
            return Answer(Kind.UNFORESEEN, sentence="something unforeseen happened here; the log says more")

    async def _do(self, request: Request, by: str) -> Answer:
        match request:
            case QueueList(filters):
                return Answer(result=list(await self.keeping.queue_list(_known(filters, QUEUE_FILTERS))))
            case QueueEdit():
                return await self.queue_edit(request, by)
            case TraceFind(filters, limit):
                return Answer(result=await self.trace_find(filters, limit))
            case TraceShow(id):
                return Answer(result=await self.trace_show(id))
            case StatusAsk(alarms):
                return Answer(result={**await self.status(), "alarms": list(self.alarms(max(0, min(alarms, 200))))})
            case Reload(what_if):
                return await self._reload(what_if, by)
            case RecipientImport():
                return await self.recipient_import(request, by)
            case RecipientFind(address, organisation):
                return Answer(result=self.recipient_find(address, organisation))

    async def queue_edit(self, request: QueueEdit, by: str) -> Answer:
        """Change waiting tasks; without a filter nothing is touched, because "everything" is rarely meant."""
        if request.action not in ACTIONS:
            raise Misuse(f"the queue knows {', '.join(ACTIONS)}, not '{request.action[:40]}'")
        filters = _known(request.filters, QUEUE_FILTERS)
        if not filters:
            raise Misuse("say which messages: an id, or --lane, --sender or --recipient")
        tasks = list(await self.keeping.queue_list(filters))
        if not tasks:
            raise Nothing("no waiting message matches")
        if request.what_if:
            return Answer(result={"action": request.action, "what_if": True, "count": len(tasks), "tasks": tasks})
        count = await self.keeping.queue_edit(request.action, filters, by)
        self._audit(by, f"queue {request.action}", count=count, **{f"for_{key}": v for key, v in filters.items()})
        return Answer(result={"action": request.action, "what_if": False, "count": count})

    async def trace_find(self, filters: Mapping[str, str], limit: int) -> list[Mapping[str, Any]]:
        """Trace rows; `since` and `until` may be "2h" ago, a date and time (RFC 3339), or seconds since the epoch."""
        known = dict(_known(filters, TRACE_FILTERS))
        for name in ("since", "until"):
            if name in known:
                known[name] = repr(self._moment(known[name]))
        if "status" in known:
            known["status"] = _status(known["status"])
        if not 1 <= limit <= MOST_ROWS:
            raise Misuse(f"between 1 and {MOST_ROWS} rows can be asked for")
        return list(await self.keeping.trace_find(known, limit))

    async def trace_show(self, message: str) -> Mapping[str, Any]:
        """One message by its id (a refusal by that of its connection): rows, events, what was known, and why."""
        found = await self.keeping.trace_show(message)
        if found is None:
            raise Nothing(f"no message has the id {message[:80]}")
        plain = {name: value for name, value in found.items() if name != "stories"}
        known, steps = told(Recorder(), found.get("stories") or {})
        return {**plain, "known": known, "explanation": steps}

    async def recipient_import(self, request: RecipientImport, by: str) -> Answer:
        """Put the recipients of a file in the place of all that the organisation has."""
        organisation = self._organisation(request.organisation)
        entries = read_recipients(request.text, request.form, request.name, organisation)
        counts = {
            "organisation": organisation,
            "recipients": len(entries),
            "addresses": sum(len(entry.addresses) for entry in entries),
            "what_if": request.what_if,
        }
        if not entries:
            raise Misuse("the file holds no recipients; an empty directory would refuse all mail")
        if request.what_if:
            return Answer(result=counts)
        revision = await self.store(organisation, entries)
        self._audit(by, "recipient import", organisation=organisation, count=len(entries), revision=revision)
        return Answer(result={**counts, "revision": revision})

    def recipient_find(self, address: str, organisation: str) -> Mapping[str, Any]:
        """Who has this address, as the edge would find it."""
        try:
            parsed = parse_address(address, utf8=True)
        except AddressError as trouble:
            raise Misuse(f"'{address[:80]}': {trouble}") from None
        found = self.directory.who_is(self._organisation(organisation), parsed.key)
        if isinstance(found, Unknown):
            raise Unavailable(found.why)
        who = found.who
        if who is None:
            raise Nothing(f"nobody has the address {parsed.text} (directory revision {found.revision})")
        return {
            "organisation": who.organisation,
            "kind": who.kind.value,
            "address": who.primary.text,
            "external_address": who.external.text if who.external else "",
            "attributes": who.attributes,
            "revision": found.revision,
        }

    async def _reload(self, what_if: bool, by: str) -> Answer:
        said = dict(await (self.check() if what_if else self.reload()))
        if not what_if:
            self._audit(by, "reload", **said)
        return Answer(result={**said, "what_if": what_if})

    def _organisation(self, named: str) -> str:
        known = tuple(self.organisations())
        if named:
            if named not in known:
                raise Misuse(f"there is no organisation '{named[:80]}'; there are {', '.join(known) or 'none'}")
            return named
        if len(known) != 1:
            raise Misuse(f"say which organisation is meant: {', '.join(known) or 'there is none yet'}")
        return known[0]

    def _moment(self, text: str) -> float:
        if ago := _AGO.fullmatch(text.strip()):
            return self.clock.now() - int(ago[1]) * _UNIT[ago[2]]
        try:
            seconds = float(text)
        except ValueError:
            return moment(text)
        if not math.isfinite(seconds):
            raise Misuse(f"'{text[:40]}' is no time")
        return seconds

    def _audit(self, by: str, did: str, **details: object) -> None:
        self.journal.note("audit", by=by, did=did, **{key: value for key, value in details.items() if key != "by"})


def moment(text: str) -> float:
    """A date, or a date and time (RFC 3339; without a zone UTC), as seconds since the epoch. Raises Misuse."""
    try:
        when = dt.datetime.fromisoformat(text.strip())
        return (when if when.tzinfo else when.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, OverflowError):
        raise Misuse(f"'{text[:40]}' is no time; write 2h, 2026-11-24 or 2026-11-24T08:00:00Z") from None


def problem_row(problem: Problem) -> dict[str, Any]:
    """A mistake in a document as every face shows it."""
    return {"file": problem.file, "line": problem.line, "path": problem.path, "message": problem.message}


def _known(filters: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    if unknown := sorted(set(filters) - set(names)):
        raise Misuse(f"'{unknown[0][:40]}' cannot be asked for; there are {', '.join(names)}")
    if not filters.get("task", "0").isdigit():
        raise Misuse("a task is named by its number")
    return {name: value for name, value in filters.items() if value}


def _status(word: str) -> str:
    for status in Status:
        if status.value.casefold() == word.casefold():
            return status.value
    raise Misuse(f"'{word[:40]}' is no status; there are {', '.join(status.value for status in Status)}")
