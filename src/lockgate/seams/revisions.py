"""The policy, revision by revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class Revision(msgspec.Struct, frozen=True, omit_defaults=True):
    """One published set of documents: the texts as they were written, never the compiled form (house c.7).

    `by` is the caller, `reason` what the caller said, `digest` that of the compiled policy. `mirrored` says that the
    operator's policy folder was to hold these texts afterwards; `before` is the revision that was in force until then.
    """

    number: int
    at: float
    by: str
    files: dict[str, str]
    reason: str = ""
    digest: str = ""
    mirrored: bool = False
    before: int = 0


class RevisionNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """A revision without its texts."""

    number: int
    at: float
    by: str
    reason: str = ""
    digest: str = ""


class NoPolicy(Exception):
    """There is no such revision; the message says where one was looked for."""


class Overtaken(Exception):
    """Somebody else published in between, or edited the policy folder; the message says what to do."""


class Revisions(Protocol):
    """The numbered revisions of the policy, and the operator's folder beside them. Synchronous, it reads files.

    Promises: a revision is durable and in force for every process once `publish` returns, and one publication never
    undoes another that it did not know. Kept by app/policies.py, faked by MemoryRevisions in testing/revisions.py.
    """

    def in_force(self) -> Revision:
        """The revision in force. Raises NoPolicy."""

    def at(self, number: int) -> Revision:
        """An earlier revision, by its number. Raises NoPolicy."""

    def known(self, most: int) -> Sequence[RevisionNote]:
        """The last revisions, the newest first."""

    def put(
        self, files: Mapping[str, str], *, after: int, by: str, reason: str, at: float, digest: str, discard: bool
    ) -> tuple[Revision, str]:
        """Put sound texts in force in the place of revision `after` (0: of none), and write the folder if it is ours.

        Returns the new revision, and a sentence if the folder could not be written. Raises Overtaken when another
        revision is in force, or when the folder was edited by hand and does not hold these texts; with `discard` the
        edits are set aside and the folder is written. Raises OSError; then nothing has changed.
        """

    def folder(self) -> dict[str, str]:
        """The texts in the operator's folder. Raises Invalid of the policy's documents when they cannot be read."""

    def folder_edited(self) -> bool:
        """Whether somebody edited the folder since we last read or wrote it, and it does not say what is in force."""
