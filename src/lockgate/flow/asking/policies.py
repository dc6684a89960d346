"""What can be asked about the policy as a whole: its documents, its revisions, and what they come to."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class Reload(Ask, frozen=True, tag="reload"):
    """Put the documents of the operator's folder in force; with `what_if` only check them."""

    what_if: bool = False


class Plan(Ask, frozen=True, tag="plan"):
    """What would these documents ({file name: TOML text}) change?"""

    files: dict[str, str]


class Apply(Ask, frozen=True, tag="apply"):
    """Put these documents in force, all or nothing, in the place of revision `expect` (None: whichever is in force).

    With `discard_edits` the operator's folder is written even if it was edited by hand meanwhile.
    """

    files: dict[str, str]
    reason: str = ""
    expect: int | None = None
    what_if: bool = False
    discard_edits: bool = False


class Rollback(Ask, frozen=True, tag="rollback"):
    """Put the texts of an earlier revision in force again, as a new revision."""

    number: int
    reason: str = ""
    expect: int | None = None
    what_if: bool = False
    discard_edits: bool = False


class RevisionList(Ask, frozen=True, tag="revision_list"):
    """The last revisions, the newest first."""

    limit: int = 20


class RevisionDiff(Ask, frozen=True, tag="revision_diff"):
    """What differs between two revisions; None is the one in force."""

    before: int
    after: int | None = None


class Export(Ask, frozen=True, tag="export"):
    """The texts of a revision as they were written; None is the one in force."""

    number: int | None = None


class PolicyOrigins(Ask, frozen=True, tag="policy_origins"):
    """Every property of every object in force, and where it comes from."""

    organisation: str = ""
