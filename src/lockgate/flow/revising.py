"""From texts to a revision: understood, compared with what is in force, told in words, published, audited."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from lockgate.flow.meaning import Both, meaning
from lockgate.policy.compile import Understood, understand
from lockgate.policy.differences import Difference, differences, plain
from lockgate.policy.problems import Invalid, Problem
from lockgate.seams import Audit, Clock, NoPolicy, Overtaken, Revision, Revisions

MOST_AUDITED = 1000
"""Objects of one revision that get an audit row each; `diff` tells all of them from the texts that are kept."""

MOST_REASON = 1000
"""Characters of a reason."""


class Ground(NamedTuple):
    """What is in force: its number (0: nothing is), texts, and what they come to."""

    number: int
    files: Mapping[str, str]
    understood: Understood


class Proposal(NamedTuple):
    """Sound texts, and what they would change."""

    ground: Ground
    files: Mapping[str, str]
    understood: Understood
    differences: tuple[Difference, ...]


class Wish(NamedTuple):
    """Who wants a revision published, what was `done` (a verb for the audit), and why.

    `expect` is the revision that must be in force (None: whichever is).
    """

    by: str
    done: str
    reason: str = ""
    expect: int | None = None
    what_if: bool = False
    discard_edits: bool = False


class Revising:
    """The only way to a new revision while the service runs; every face and every command comes through here."""

    def __init__(
        self, revisions: Revisions, audit: Audit, clock: Clock, hostname: str, *, keeps_mailboxes: bool = False
    ) -> None:
        self.revisions = revisions
        self._audit = audit
        self._clock = clock
        self._hostname = hostname
        self._keeps_mailboxes = keeps_mailboxes
        self._alone = asyncio.Lock()
        self._last: Ground | None = None

    # --- reading

    async def ground(self) -> Ground:
        """What is in force now. Raises Invalid if a newer program no longer understands it."""
        try:
            revision = await asyncio.to_thread(self.revisions.in_force)
        except NoPolicy:
            return Ground(0, {}, self._understand({}, 0))
        if self._last is None or self._last.number != revision.number:
            self._last = await asyncio.to_thread(self._grounded, revision)
        return self._last

    def _grounded(self, revision: Revision) -> Ground:
        return Ground(revision.number, revision.files, self._understand(revision.files, revision.number))

    def _understand(self, files: Mapping[str, str], number: int) -> Understood:
        return understand(
            files, hostname=self._hostname, revision=number, keeps_mailboxes=self._keeps_mailboxes
        )

    async def understood(self, number: int | None) -> Ground:
        """An earlier revision (None: the one in force). Raises NoPolicy, Invalid."""
        ground = await self.ground()
        if number is None or number == ground.number:
            return ground
        return await asyncio.to_thread(lambda: self._grounded(self.revisions.at(number)))

    async def _ground_for_change(self) -> Ground:
        """What is in force, or nothing if a newer program no longer understands it: then all is told as added."""
        try:
            return await self.ground()
        except Invalid:
            revision = await asyncio.to_thread(self.revisions.in_force)
            return Ground(revision.number, revision.files, self._understand({}, 0))

    async def propose(self, files: Mapping[str, str]) -> Proposal:
        """What these texts would change. Raises Invalid with every mistake."""
        ground = await self._ground_for_change()
        return await asyncio.to_thread(self._proposed, ground, files)

    def _proposed(self, ground: Ground, files: Mapping[str, str]) -> Proposal:
        if files == ground.files and ground.number:
            return Proposal(ground, files, ground.understood, ())
        understood = self._understand(files, ground.number + 1)
        found = differences(ground.understood.documents, understood.documents)
        return Proposal(ground, files, understood, found)

    # --- publishing

    async def publish(self, files: Mapping[str, str], wish: Wish) -> dict[str, Any]:
        """Put these texts in force, if they say anything new; what is to be said of it.

        Raises Invalid, Overtaken, NoPolicy, OSError; then nothing has changed.
        """
        async with self._alone:
            proposal = await self.propose(files)
            number = proposal.ground.number
            if wish.expect is not None and wish.expect != number:
                raise Overtaken(f"revision {number} is in force, not {wish.expect}; nothing was changed")
            told = {**await asyncio.to_thread(told_of, proposal), "what_if": wish.what_if, "reason": wish.reason}
            if wish.what_if:
                return told
            if proposal.files == proposal.ground.files and number:
                return {**told, "revision": number, "published": False, "folder": ""}
            return {**told, **await self._published(proposal, wish)}

    async def _published(self, proposal: Proposal, wish: Wish) -> dict[str, Any]:
        def put() -> tuple[Revision, str]:
            return self.revisions.put(
                proposal.files,
                after=proposal.ground.number,
                by=wish.by,
                reason=wish.reason[:MOST_REASON],
                at=self._clock.now(),
                digest=proposal.understood.policy.digest,
                discard=wish.discard_edits,
            )

        revision, folder = await asyncio.to_thread(put)
        self._last = Ground(revision.number, revision.files, proposal.understood)
        with self._audit.together():
            self._note(proposal, wish, revision)
        return {"revision": revision.number, "published": True, "folder": folder, "at": revision.at, "by": wish.by}

    def _note(self, proposal: Proposal, wish: Wish, revision: Revision) -> None:
        many = len(proposal.differences)
        self._audit.wrote(
            wish.by, wish.done, revision=revision.number, after_revision=revision.before, reason=wish.reason,
            objects=many,
        )  # fmt: skip
        for one in proposal.differences[:MOST_AUDITED]:
            details = {"organisation": one.organisation} if one.organisation else {}
            self._audit.wrote(
                wish.by,
                f"{one.table} {one.what.value}",
                before=None if one.before is None else plain(one.before),
                after=None if one.after is None else plain(one.after),
                object=one.name,
                revision=revision.number,
                **details,
            )


def told_of(proposal: Proposal) -> dict[str, Any]:
    """A proposal as every face shows it."""
    ground, policy = proposal.ground, proposal.understood.policy
    both = Both(ground.understood.policy, policy)
    earlier = {(one.file, one.path, one.message) for one in ground.understood.policy.warnings}
    return {
        "in_force": ground.number,
        "digest": policy.digest,
        "organisations": len(policy.organisations),
        "files": files_that_differ(ground.files, proposal.files),
        "differences": [difference_row(one, both) for one in proposal.differences],
        "warnings": [
            {**warning_row(one), "new": (one.file, one.path, one.message) not in earlier} for one in policy.warnings
        ],
    }


def difference_row(difference: Difference, both: Both) -> dict[str, Any]:
    """One difference, JSON-ready."""
    return {
        "what": difference.what.value,
        "table": difference.table,
        "organisation": difference.organisation,
        "name": difference.name,
        "file": difference.file,
        "properties": [
            {"property": one.name, "before": one.before, "after": one.after} for one in difference.properties
        ],
        "meaning": list(meaning(difference, both)),
    }


def warning_row(problem: Problem) -> dict[str, Any]:
    """An advice, JSON-ready."""
    return problem._asdict()


def files_that_differ(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of files by what happens to them."""
    return {
        "added": sorted(set(after) - set(before)),
        "changed": sorted(name for name, text in after.items() if name in before and before[name] != text),
        "removed": sorted(set(before) - set(after)),
    }
