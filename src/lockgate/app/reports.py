"""Reports in the desk's process: counts taken from the workers, letters read, our reports sent when a day is over."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lockgate.app.config import OperatorFile
from lockgate.app.report_reading import NotRead, read_apart
from lockgate.app.report_rows import listed, told
from lockgate.app.tls_reports import TlsReportOffice
from lockgate.flow.own_mail import OwnMail
from lockgate.flow.sending_reports import NotNow, ReportSender, put_off, report_of, shown
from lockgate.flow.sending_tls_reports import Upload
from lockgate.mail.reports.carried import Reading
from lockgate.mail.reports.counted import Arrived, Failed, Period
from lockgate.mail.reports.letter import packed_report
from lockgate.policy.policy import Policy
from lockgate.probes.trust.report_destinations import ReportDestinations
from lockgate.seams import Clock, Journal, Resolver, Unavailable
from lockgate.storage.report_batches import batches_waiting, letters_waiting
from lockgate.storage.report_gathering import Gathering
from lockgate.storage.report_schema import NOT_KEPT, report_file
from lockgate.storage.report_shelf import Full, Shelf

TURN = 1.0
"""Seconds between two looks at what the workers have left."""

LATE = 600
"""Seconds after midnight (UTC) before which no report of the day before goes out: the last counts are in by then."""

SPREAD = 3600
"""Within so many further seconds the reports of a day go out, each domain at its own moment."""

GIVE_UP = 3 * 86400
"""So long after the end of its day a report is tried."""

MOST_FAILED = 1000
"""Failures that wait to be told; what is beyond is not told."""

_AT_ONCE = 50
_BATCHES_AT_ONCE = 200
_LETTERS_AT_ONCE = 10
_PRUNE = 3600.0
_LOOK_FOR_DUE = 30.0

_T = TypeVar("_T")

Post = Callable[[], AbstractAsyncContextManager[OwnMail]]
"""A way into the queue for the time of a few letters (app/own_post.py)."""


async def no_upload(url: str, packed: bytes) -> str:
    """Where nobody posts anything."""
    return "reports are not posted here"


class ReportOffice:
    """Implements ReportBooks of the desk, and does what has to be done by itself (`run`).

    `policy` gives the policy in force, `resolver` asks DNS, `post` opens a way into the queue, `folder` is where
    everything about reports lies; `upload` posts TLS reports.
    """

    def __init__(
        self,
        folder: Path,
        policy: Callable[[], Policy],
        clock: Clock,
        journal: Journal,
        resolver: Resolver,
        post: Post,
        upload: Upload = no_upload,
    ) -> None:
        self._post = post
        self._policy = policy
        self._clock = clock
        self._journal = journal
        self._folder = folder
        file = report_file(self._folder)
        self._gathering, self._shelf = Gathering(file), Shelf(file)
        self._tls = TlsReportOffice(file, policy, clock, journal, resolver, upload)
        destinations = ReportDestinations(resolver)
        self._sender = ReportSender(destinations.aggregate, destinations.failure, clock, journal)
        self._sending, self._taking = asyncio.Lock(), asyncio.Lock()
        self._failed: list[Failed] = []

    async def run(self) -> None:
        """Go on for as long as the process lives. Whoever waits for DNS keeps none of the others waiting."""
        await asyncio.gather(
            self._again(self.take, TURN),
            self._again(self.read_letters, TURN),
            self._again(self.tell, TURN),
            self._again(self.send_due, _LOOK_FOR_DUE),
            self._again(self.send_due_tls, _LOOK_FOR_DUE),
            self._again(self.prune, _PRUNE),
        )

    async def _again(self, work: Callable[[], Awaitable[object]], pause: float) -> None:
        troubled = ""
        await asyncio.sleep(TURN)
        while True:
            try:
                await work()
                troubled = ""
            except Exception as trouble:  # whatever is wrong now, what comes later must be looked at
                if troubled != str(trouble):  # told once, not every second
                    self._journal.alarm("reports cannot be looked after", because=str(trouble))
                troubled = str(trouble)
            await asyncio.sleep(pause)

    # --- counts

    async def take(self) -> None:
        """Take what the workers have counted. Raises Unavailable."""
        async with self._taking:  # a file that two take at once would be counted twice
            failed = await self._ask(self._take)
        self._failed += failed[: MOST_FAILED - len(self._failed)]

    def _take(self) -> list[Failed]:
        failed: list[Failed] = []
        waiting = list(itertools.islice(batches_waiting(self._folder), _BATCHES_AT_ONCE))
        if not waiting:
            return []
        self._gathering.take([(path.name, batch) for path, batch in waiting if batch is not None])
        for path, batch in waiting:
            if batch is None:
                self._journal.note("counts for reports lost", file=path.name, because="the file is damaged")
            else:
                failed += batch.failed
            path.unlink(missing_ok=True)
        self._gathering.forget([path.name for path, _ in waiting])
        return failed

    def _life(self, organisation: str) -> float:
        mine = self._policy().organisations.get(organisation)
        return float(mine.organisation.report_retention) if mine is not None else 90 * 86400.0

    async def prune(self) -> None:
        """Delete what is older than it may get. Raises Unavailable."""
        await self._ask(self._prune)

    def _prune(self) -> None:
        now = self._clock.now()
        gone = self._gathering.prune(now, self._life) + self._shelf.prune(now, self._life)
        if gone:
            self._journal.note("old reports deleted", count=gone)

    # --- letters

    async def read_letters(self) -> None:
        """Read what has arrived. Raises what NOT_KEPT names."""
        for number, (path, arrived) in enumerate(letters_waiting(self._folder)):
            if number >= _LETTERS_AT_ONCE:
                break
            if arrived is None:
                self._journal.note("report not read", file=path.name, because="the file is damaged")
                path.unlink(missing_ok=True)
                continue
            try:
                await self._file(arrived)
            except NOT_KEPT:
                raise
            except Exception as trouble:  # one letter must not be in the way of all that come after it
                self._journal.alarm("unforeseen", at="reading a report", origin=arrived.origin, trouble=trouble)
            path.unlink(missing_ok=True)

    async def _file(self, arrived: Arrived) -> None:
        for reading in await _read(arrived.octets):
            row = await asyncio.to_thread(self._keep, arrived.organisation, reading, arrived.origin, bounded=True)
            happening = "report not read" if row["why"] else "report received"
            self._journal.note(happening, organisation=arrived.organisation, origin=arrived.origin, **_brief(row))

    def _keep(self, organisation: str, reading: Reading, origin: str, *, bounded: bool) -> dict[str, Any]:
        now, why, number = self._clock.now(), reading.why, 0
        if not why:
            try:
                number = self._shelf.add(organisation, reading, now, origin, bounded=bounded)
            except Full as trouble:
                why = str(trouble)
        if why:
            self._shelf.unread(organisation, now, origin, why)
        return {**told(reading), "number": number, "why": why, "known": not why and not number}

    # --- our reports

    async def send_due(self) -> None:
        """Send the reports of days that are over, each at its moment. Raises Unavailable."""
        now = self._clock.now()
        due = [one for one in await self._ask(self._gathering.due, now, 10_000) if ready_at(one) <= now]
        if not due:
            return
        async with self._sending, self._post() as mail:
            for period in due[:_AT_ONCE]:
                await self._send(period, mail, by_itself=True)

    async def send_due_tls(self) -> None:
        """The same for TLS reports. Raises Unavailable."""
        if due := await self._tls.due(ready_at, _AT_ONCE):
            async with self._sending, self._post() as mail:
                for period in due:
                    await self._tls.send(period, mail)

    async def _send(self, period: Period, mail: OwnMail, *, by_itself: bool) -> dict[str, Any]:
        """Close and send one period; what became of it as a row."""
        now, policy = self._clock.now(), self._policy()
        if not period.report:
            name = f"{period.day}.{secrets.token_hex(12)}"
            period = await self._ask(self._gathering.close, period, name, now)
        why_not = _not_wanted(policy, period) if by_itself else ""
        if why_not:
            await self._ask(self._gathering.finished, period, now, (why_not,))
            return {**shown(period), "state": "done", "outcome": [why_not], "told": 0}
        try:
            rows = await self._ask(self._gathering.rows, period)
            sent = await self._sender.send(policy, period, rows, mail)
        except (NotNow, Unavailable) as trouble:
            return await self._put_off(period, str(trouble), now)
        await self._ask(self._gathering.finished, period, now, sent.outcome)
        return {**shown(period), "state": "done", "outcome": list(sent.outcome), "told": sent.told}

    async def _put_off(self, period: Period, why: str, now: float) -> dict[str, Any]:
        again, outcome = put_off(period, why, now, GIVE_UP)
        if again is None:
            await self._ask(self._gathering.finished, period, now, outcome)
        else:
            await self._ask(self._gathering.tried, period, again, outcome)
        state = "done" if again is None else "waiting"
        return {**shown(period), "state": state, "outcome": list(outcome), "told": 0}

    async def tell(self) -> None:
        """Tell of failures, as many as each organisation allows. Raises Unavailable."""
        failed, self._failed = self._failed, []
        if not failed:
            return
        policy, hour = self._policy(), int(self._clock.now()) // 3600
        async with self._post() as mail:
            for one in failed:
                mine = policy.organisations.get(one.organisation)
                wanted = mine.anti_phishing if mine is not None else None
                if wanted is None or not wanted.send_failure_reports:
                    continue
                most = wanted.failure_reports_per_hour
                if await self._ask(self._gathering.may_tell, one.organisation, one.domain, hour, most):
                    with contextlib.suppress(NotNow, Unavailable):  # one of many; the next one may be told
                        await self._sender.tell(policy, one, mail)

    # --- for the desk

    async def received(self, organisation: str, kind: str, domain: str, since: float, limit: int) -> Sequence[Any]:
        """See ReportBooks."""
        return await self._ask(self._shelf.find, organisation, kind, domain, since, limit)

    async def unread(self, organisation: str, limit: int) -> Sequence[Any]:
        """See ReportBooks."""
        return await self._ask(self._shelf.unread_list, organisation, limit)

    async def sent(self, organisation: str, domain: str, day: int | None, limit: int) -> Sequence[Any]:
        """See ReportBooks."""
        found = await self._ask(lambda: self._gathering.find(organisation, domain, day, limit, below=True))
        return [shown(one) for one in found]

    async def sent_tls(self, organisation: str, domain: str, limit: int) -> Sequence[Any]:
        """See ReportBooks."""
        return [shown(one) for one in await self._tls.find(organisation, domain, None, limit)]

    async def one(self, report: str, limit: int) -> Mapping[str, Any] | None:
        """See ReportBooks."""
        if report.isascii() and report.isdigit() and len(report) < 16:
            found = await self._ask(self._shelf.show, int(report))
            return None if found is None else {**found[0], **listed(found[1], limit)}
        if (session := await self._tls.one(report)) is not None:
            return {**shown(session[0]), **listed(Reading(tls=session[1]), limit)}
        period = await self._ask(self._gathering.named, report)
        if period is None:
            return None
        made = report_of(self._policy(), period, await self._ask(self._gathering.rows, period))
        return {**shown(period), **listed(Reading(aggregate=made), limit)}

    async def summary(
        self, organisation: str, domain: str, source: str, result: str, since: float, limit: int
    ) -> Sequence[Any]:
        """See ReportBooks."""
        return await self._ask(self._shelf.summary, organisation, domain, source, result, since, limit)

    async def tls(self, organisation: str, domain: str, since: float, limit: int, *, own: bool) -> Sequence[Any]:
        """See ReportBooks."""
        if own:
            return (await self._ask(self._gathering.tls, organisation, domain, since))[:limit]
        return await self._ask(self._shelf.tls, organisation, domain, since, limit)

    async def take_in(self, organisation: str, name: str, octets: bytes, *, what_if: bool) -> Sequence[Any]:
        """See ReportBooks."""
        rows = []
        for reading in await _read(octets):
            if what_if:
                known = not reading.why and await self._ask(self._shelf.knows, organisation, reading)
                rows.append({**told(reading), "number": 0, "why": reading.why, "known": known})
            elif reading.why:
                rows.append({**told(reading), "number": 0, "why": reading.why, "known": False})
            else:
                rows.append(await self._kept(organisation, reading, f"file {name}"))
        return rows

    async def _kept(self, organisation: str, reading: Reading, origin: str) -> dict[str, Any]:
        return await self._ask(lambda: self._keep(organisation, reading, origin, bounded=False))

    async def send(self, organisation: str, domain: str, day: int, *, what_if: bool) -> Sequence[Any]:
        """See ReportBooks."""
        await self.take()
        periods = await self._ask(self._gathering.find, organisation, domain, day, 10_000)
        if what_if:
            return [await self._supposed(one) for one in periods]
        if all(one.done for one in periods):
            return [{**shown(one), "told": 0} for one in periods]
        async with self._sending, self._post() as mail:
            return [
                {**shown(one), "told": 0} if one.done else await self._send(one, mail, by_itself=False)
                for one in periods
            ]

    async def send_tls(self, organisation: str, domain: str, day: int, *, what_if: bool) -> Sequence[Any]:
        """See ReportBooks."""
        await self.take()
        periods = await self._tls.find(organisation, domain, day, 10_000)
        if what_if:
            return [await self._tls.supposed(one) for one in periods]
        if all(one.done for one in periods):
            return [{**shown(one), "told": 0} for one in periods]
        async with self._sending, self._post() as mail:
            return [{**shown(one), "told": 0} if one.done else await self._tls.send(one, mail) for one in periods]

    async def _supposed(self, period: Period) -> dict[str, Any]:
        row: dict[str, Any] = {**shown(period), "told": 0}
        if period.done:
            return row
        try:
            wanted = await self._sender.destinations(period.domain)
        except NotNow as trouble:
            return {**row, "outcome": [f"not yet: {trouble}"]}
        rows = await self._ask(self._gathering.rows, period)
        size = len(packed_report(report_of(self._policy(), period, rows), ""))
        outcome = [f"{one.address}: {f'not sent, because {one.refused}' if one.refused else 'would be sent'}"
                   for one in wanted]  # fmt: skip
        return {**row, "outcome": outcome, "rows": len(rows), "octets": size}

    async def _ask(self, work: Callable[..., _T], *given: Any) -> _T:
        try:
            return await asyncio.to_thread(work, *given)
        except NOT_KEPT as trouble:
            raise Unavailable(f"the reports cannot be read or written: {trouble}") from None


def folder_of(config: OperatorFile) -> Path:
    """Where everything about reports lies."""
    return config.state_directory / "reports"


def ready_at(period: Period) -> float:
    """When a report goes out by itself; one that was begun goes on at once."""
    return 0.0 if period.report else period.end + LATE + zlib.crc32(period.domain.encode()) % SPREAD


def _not_wanted(policy: Policy, period: Period) -> str:
    mine = policy.organisations.get(period.organisation)
    if mine is None or mine.anti_phishing is None or not mine.anti_phishing.send_aggregate_reports:
        return "not sent, because the organisation sends no reports any more"
    return ""


async def _read(octets: bytes) -> Sequence[Reading]:
    try:
        return await read_apart(octets)
    except (NotRead, OSError, msgspec.MsgspecError) as trouble:
        return (Reading(why=str(trouble)),)


def _brief(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("kind", "reporter", "domain", "messages", "known", "why") if row.get(name)}
