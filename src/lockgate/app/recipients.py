"""Keeps each organisation's recipients as they were imported, and builds the table of all of them that workers read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from lockgate.flow.recipients import Entry
from lockgate.storage.directory import RecipientRow, build_table

TABLE = "recipients.table"
"""The table's name within the directory folder."""


class _Source(msgspec.Struct, frozen=True):
    organisation: str
    rows: tuple[RecipientRow, ...]


_READ = msgspec.msgpack.Decoder(_Source)


class RecipientStore:
    """The directory of one installation below `folder`; used by one process (the desk)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def table(self) -> Path:
        """What `storage.directory.DirectoryTable` reads."""
        return self._folder / TABLE

    def replace(self, organisation: str, entries: Sequence[Entry]) -> int:
        """Put these in the place of all the organisation has; the table's new revision.

        Durable before it returns; on any failure (OSError, TwoOwners) the old recipients stay in force. Takes a few
        seconds for a million recipients: call it in a thread.
        """
        rows = tuple(
            RecipientRow(
                entry.who.organisation,
                entry.who.kind,
                entry.who.primary,
                entry.who.external,
                entry.addresses[1:],
                entry.who.attributes,
            )
            for entry in entries
        )
        path = self._source(organisation)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.msgpack.encode(_Source(organisation, rows)))
            file.flush()
            os.fsync(file.fileno())
        revision = build_table(self.table, self._all_rows(instead_of=path, rows=rows))
        # Only after the table: what is imported and could not be built must not come back with the next import.
        fresh.replace(path)
        return revision

    def _source(self, organisation: str) -> Path:
        # Names of organisations are free text; a digest is always a file name.
        digest = hashlib.blake2b(organisation.encode(), digest_size=12).hexdigest()
        return self._folder / "sources" / f"{digest}.msgpack"

    def _all_rows(self, *, instead_of: Path, rows: Sequence[RecipientRow]) -> Iterator[RecipientRow]:
        yield from rows
        for path in sorted((self._folder / "sources").glob("*.msgpack")):
            if path != instead_of:
                yield from _READ.decode(path.read_bytes()).rows
