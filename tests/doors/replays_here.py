"""Replays of what a house in memory has recorded, done at once in this process."""

from __future__ import annotations

from flow.house import House
from lockgate.flow.desk.explain import Revisions, policy_meant
from lockgate.flow.replay import Job, Progress, compared
from lockgate.mail.record import Kept, Recorder


def kept_in(house: House) -> list[Kept]:
    """Every story of the house, the newest first."""
    found = [
        Kept(message.id, message.received, organisation, data)
        for message in house.spool.messages.values()
        for organisation, data in message.stories
    ]
    refused = [Kept(one.id, one.at, one.organisation, one.story) for one in house.spool.refusals if one.story]
    return sorted([*found, *refused], key=lambda one: -one.at)


class ReplaysHere:
    """A flow.desk.replays.Replayer; `looks` are answered with how far it is before the result is told."""

    def __init__(self, house: House, revisions: Revisions) -> None:
        self._house, self._revisions = house, revisions
        self._jobs: dict[str, tuple[str, Job]] = {}
        self.looks = 0

    async def begin(self, job: Job, named: str) -> str:
        self._jobs["job"] = (named, job)
        return "job"

    async def look(self, job: str, wait: float | None) -> tuple[str, Job, Progress]:
        named, asked = self._jobs[job]
        if self.looks:
            self.looks -= 1
            return named, asked, Progress(1, 10)
        policy, _ = await policy_meant(self._revisions, asked.documents, asked.revision)
        kept = [one for one in kept_in(self._house) if one.at >= asked.since]
        told = compared(kept, policy, self._house.ask, Recorder(), asked.limit, asked.organisation)
        return named, asked, Progress(told["messages"], len(kept), told)
