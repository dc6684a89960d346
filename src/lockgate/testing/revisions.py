"""Revisions in memory: seams.Revisions for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lockgate.seams import NoPolicy, Overtaken, Revision, RevisionNote


class MemoryRevisions:
    """Keeps every revision in `kept`; `texts` is the operator's folder, `ours` whether it may be written."""

    def __init__(self, files: Mapping[str, str] | None = None, *, ours: bool = True) -> None:
        self.kept: list[Revision] = []
        self.texts: dict[str, str] = dict(files or {})
        self.ours = ours
        self._held = dict(self.texts)
        if files is not None:
            self.kept.append(Revision(1, 0.0, "start", dict(files)))

    def in_force(self) -> Revision:
        """The last one."""
        if not self.kept:
            raise NoPolicy("no policy has been published")
        return self.kept[-1]

    def at(self, number: int) -> Revision:
        """One of them."""
        if not 0 < number <= len(self.kept):
            raise NoPolicy(f"there is no revision {number}")
        return self.kept[number - 1]

    def known(self, most: int) -> Sequence[RevisionNote]:
        """The newest first."""
        found = [RevisionNote(one.number, one.at, one.by, one.reason, one.digest) for one in reversed(self.kept)]
        return found[:most]

    def put(
        self, files: Mapping[str, str], *, after: int, by: str, reason: str, at: float, digest: str, discard: bool
    ) -> tuple[Revision, str]:
        """See Revisions."""
        if after != len(self.kept):
            raise Overtaken(f"revision {len(self.kept)} is in force now, not {after}; look at it and try again")
        if self.kept and self.texts != files and self.folder_edited() and not discard:
            raise Overtaken("the policy folder was edited and not put in force yet; nothing was changed")
        revision = Revision(after + 1, at, by, dict(files), reason, digest, mirrored=self.ours, before=after)
        self.kept.append(revision)
        if self.ours:
            self.texts = dict(files)
        said = "" if self.texts == files else "the policy folder is not ours to write and was left as it is"
        self._held = dict(self.texts)
        return revision, said

    def folder(self) -> dict[str, str]:
        """The texts in the operator's folder."""
        return dict(self.texts)

    def folder_edited(self) -> bool:
        """Whether they are neither what is in force nor what they were."""
        return self.texts not in (self.in_force().files, self._held)
