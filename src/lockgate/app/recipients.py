"""The recipients of all organisations: each one's list as it was imported, and the table that workers look into."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from lockgate.flow.recipients import Entry
from lockgate.storage.directory import RecipientRow, build_table


class _List(msgspec.Struct, frozen=True):
    organisation: str
    rows: tuple[RecipientRow, ...]


class RecipientLists:
    """Lists are kept below `folder`/lists; the table is always made of all of them."""

    def __init__(self, folder: Path) -> None:
        self._lists = folder / "lists"
        self.table = folder / "recipients.table"

    def replace(self, organisation: str, entries: Sequence[Entry]) -> int:
        """Put `entries` in the place of the organisation's recipients; the directory's new revision.

        Raises ValueError when one address would belong to two recipients, and then nothing has changed.
        """
        mine = _List(organisation, tuple(_row(entry) for entry in entries))
        others = [one for one in self._read() if one.organisation != organisation]
        revision = build_table(self.table, _rows([*others, mine]))
        self._write(mine)
        return revision

    def ensure(self) -> bool:
        """Make the table of the lists if it is missing; whether there is anybody in them."""
        lists = list(self._read())
        if not self.table.exists():
            build_table(self.table, _rows(lists))
        return any(one.rows for one in lists)

    def holds_anybody(self) -> bool:
        """Whether any organisation has recipients; changes nothing."""
        return any(one.rows for one in self._read())

    def _read(self) -> Iterator[_List]:
        if self._lists.is_dir():
            for path in sorted(self._lists.glob("*.msgpack")):
                yield msgspec.msgpack.decode(path.read_bytes(), type=_List)

    def _write(self, one: _List) -> None:
        self._lists.mkdir(parents=True, exist_ok=True)
        # The name of an organisation is free text; its digest is a safe file name.
        name = hashlib.sha256(one.organisation.encode()).hexdigest()[:32]
        fresh = self._lists / f".{name}.new"
        with fresh.open("wb") as file:
            file.write(msgspec.msgpack.encode(one))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._lists / f"{name}.msgpack")


def _row(entry: Entry) -> RecipientRow:
    who = entry.who
    return RecipientRow(
        who.organisation, who.kind, who.primary, who.external, tuple(entry.addresses[1:]), dict(who.attributes)
    )


def _rows(lists: Iterable[_List]) -> Iterator[RecipientRow]:
    for one in lists:
        yield from one.rows
