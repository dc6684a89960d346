"""Recorded mail judged by another policy, at the desk: begun, waited for, told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.explain import Replay, ReplayProgress
from lockgate.flow.desk.explain import Revisions, policy_meant
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, check_organisation
from lockgate.flow.desk.times import moment_before
from lockgate.flow.replay import MOST_MESSAGES, Job, Progress
from lockgate.seams import Clock

LONGEST_WAIT = 60.0
"""Seconds that one request may wait."""


class Replayer(Protocol):
    """Judges recorded mail in a process of its own (app/rejudging.py)."""

    async def begin(self, job: Job, named: str) -> str:
        """Begin; the name of the job. `named` is what the policy is called. Raises Misuse if too many are under way."""

    async def look(self, job: str, wait: float | None) -> tuple[str, Job, Progress]:
        """What the policy is called, what was asked, and how it stands, after so many seconds at the latest.

        Without `wait` when it is over; whoever asks so and goes away ends it. Raises Nothing, Unavailable.
        """


class ReplayDesk(msgspec.Struct, frozen=True):
    """Answers `replay`. Nothing here changes anything."""

    revisions: Revisions
    replayer: Replayer
    clock: Clock

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            Replay: Handler(Right.RECIPIENTS_VIEW, self.replay),
            ReplayProgress: Handler(Right.RECIPIENTS_VIEW, self.progress),
        }

    async def replay(self, request: Replay, caller: Caller) -> Answer:
        """Recorded mail judged by a draft: who would fare otherwise, in groups."""
        if not 1 <= request.limit <= MOST_MESSAGES:
            raise Misuse(f"between 1 and {MOST_MESSAGES} messages can be judged again")
        if request.documents is None and not request.revision:
            raise Misuse("say which policy the mail is to be judged by: --policy DIR or --revision N")
        policy, named = await policy_meant(self.revisions, request.documents, request.revision)
        if request.organisation not in policy.organisations:
            check_organisation(request.organisation, (await self.revisions.in_force()).organisations)
        since = moment_before(request.since, self.clock.now())
        job = Job(request.documents, request.revision, since, request.limit, request.organisation)
        return await self._look(await self.replayer.begin(job, named), request.wait)

    async def progress(self, request: ReplayProgress, caller: Caller) -> Answer:
        """How it stands."""
        return await self._look(request.job, request.wait)

    async def _look(self, name: str, wait: float | None) -> Answer:
        wait = None if wait is None else max(0.0, min(wait, LONGEST_WAIT))
        named, job, progress = await self.replayer.look(name, wait)
        told: dict[str, Any] = {"policy": named, "since": job.since}
        if progress.result is None:
            return Answer(result={**told, "job": name, "judged": progress.judged, "of": min(progress.of, job.limit)})
        return Answer(result={**told, **progress.result})
