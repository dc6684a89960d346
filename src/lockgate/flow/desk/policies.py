"""The policy at the desk: plan, apply, revisions, differences, rollback, export, and where every value comes from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.policies import (
    Apply,
    Export,
    Plan,
    PolicyOrigins,
    Reload,
    RevisionDiff,
    RevisionList,
    Rollback,
)
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing
from lockgate.flow.meaning import Both
from lockgate.flow.revising import Revising, Wish, difference_row, files_that_differ, told_of, warning_row
from lockgate.policy.compile import Understood
from lockgate.policy.differences import differences
from lockgate.policy.origins import origins
from lockgate.policy.problems import Problem, is_document_name
from lockgate.seams import NoPolicy

MOST_REVISIONS = 10_000
MOST_FILES = 10_000


Around = Callable[[Understood], Awaitable[Sequence[Problem]]]
"""Looks at what documents cannot say (DNS, files); what cannot be found out now is left out. Never raises."""


class PolicyDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about documents and revisions; `plan` looks `around` as well."""

    revising: Revising
    around: Around | None = None

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            Reload: Handler(Right.ORGANISATION, self.reload),
            Plan: Handler(Right.POLICY_VIEW, self.plan),
            Apply: Handler(Right.ORGANISATION, self.apply),
            Rollback: Handler(Right.ORGANISATION, self.rollback),
            RevisionList: Handler(Right.POLICY_VIEW, self.list),
            RevisionDiff: Handler(Right.POLICY_VIEW, self.diff),
            Export: Handler(Right.POLICY_VIEW, self.export),
            PolicyOrigins: Handler(Right.POLICY_VIEW, self.origins),
        }

    async def reload(self, request: Reload, caller: Caller) -> Answer:
        """Apply the operator's folder, unless nobody has edited it since something newer was published."""
        revisions = self.revising.revisions
        files = await asyncio.to_thread(revisions.folder)
        ground = await self.revising.ground()
        if files != ground.files and ground.number and not await asyncio.to_thread(revisions.folder_edited):
            raise Nothing(
                f"the policy folder was not edited since revision {ground.number} was published, and it is older; "
                "`lockgate apply` with the folder's name puts it in force all the same"
            )
        wish = Wish(caller.name, "reload", "the operator's folder was read again", what_if=request.what_if)
        told = await self.revising.publish(files, wish)
        brief = {name: told[name] for name in ("digest", "organisations", "what_if")}
        warnings = [f"{one['file']}:{one['line']}: {one['message']}" for one in told["warnings"]]
        number = told.get("revision", ground.number + 1)
        return Answer(result={"revision": number, **brief, "changed": len(told["differences"]), "warnings": warnings})

    async def plan(self, request: Plan, caller: Caller) -> Answer:
        """What documents would change, object by object and in words."""
        proposal = await self.revising.propose(sane(request.files))
        told = await asyncio.to_thread(told_of, proposal)
        if self.around is not None:
            before = {(one.file, one.path, one.message) for one in await self.around(proposal.ground.understood)}
            told["warnings"] += [
                {**warning_row(one), "new": (one.file, one.path, one.message) not in before}
                for one in await self.around(proposal.understood)
            ]
        return Answer(result=told)

    async def apply(self, request: Apply, caller: Caller) -> Answer:
        """Put documents in force."""
        wish = Wish(
            caller.name, "apply", request.reason, request.expect, request.what_if, request.discard_edits
        )
        return Answer(result=await self.revising.publish(sane(request.files), wish))

    async def rollback(self, request: Rollback, caller: Caller) -> Answer:
        """Put the texts of an earlier revision in force again."""
        revision = await self._revision(request.number)
        reason = request.reason or f"back to revision {request.number}"
        wish = Wish(
            caller.name, f"rollback to {request.number}", reason, request.expect, request.what_if,
            request.discard_edits,
        )  # fmt: skip
        return Answer(result=await self.revising.publish(revision.files, wish))

    async def list(self, request: RevisionList, caller: Caller) -> Answer:
        """Revisions without their texts."""
        if not 1 <= request.limit <= MOST_REVISIONS:
            raise Misuse(f"between 1 and {MOST_REVISIONS} revisions can be asked for")
        in_force = (await self.revising.ground()).number
        known = await asyncio.to_thread(self.revising.revisions.known, request.limit)
        return Answer(
            result=[
                {
                    "revision": one.number,
                    "at": one.at,
                    "by": one.by,
                    "reason": one.reason,
                    "digest": one.digest,
                    "in_force": one.number == in_force,
                }
                for one in known
            ]
        )

    async def diff(self, request: RevisionDiff, caller: Caller) -> Answer:
        """What differs between two revisions."""
        try:
            first = await self.revising.understood(request.before)
            second = await self.revising.understood(request.after)
        except NoPolicy as trouble:
            raise Nothing(str(trouble)) from None

        def told() -> dict[str, Any]:
            both = Both(first.understood.policy, second.understood.policy)
            found = differences(first.understood.documents, second.understood.documents)
            return {
                "before": first.number,
                "after": second.number,
                "files": files_that_differ(first.files, second.files),
                "differences": [difference_row(one, both) for one in found],
            }

        return Answer(result=await asyncio.to_thread(told))

    async def export(self, request: Export, caller: Caller) -> Answer:
        """The texts as they were written."""
        revision = await self._revision(request.number)
        return Answer(result={"revision": revision.number, "files": revision.files})

    async def origins(self, request: PolicyOrigins, caller: Caller) -> Answer:
        """Every value in force, and the file and line it comes from."""
        ground = await self.revising.ground()
        rows = await asyncio.to_thread(origins, ground.files, ground.understood.documents, request.organisation)
        return Answer(result={"revision": ground.number, "values": rows})

    async def _revision(self, number: int | None) -> Any:
        try:
            revisions = self.revising.revisions
            if number is None:
                return await asyncio.to_thread(revisions.in_force)
            return await asyncio.to_thread(revisions.at, number)
        except NoPolicy as trouble:
            raise Nothing(str(trouble)) from None


def sane(files: Mapping[str, str]) -> Mapping[str, str]:
    """The documents, if their names are those of files below a folder and of nothing else. Raises Misuse."""
    if len(files) > MOST_FILES:
        raise Misuse(f"at most {MOST_FILES} documents are taken")
    for name in files:
        if not is_document_name(name):
            raise Misuse(f"'{name[:80]}' is no name of a document; names are relative and end with .toml")
    return files
