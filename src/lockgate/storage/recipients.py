"""The one who writes the directory: imports into a new table, single changes into a log, merged in the background."""

from __future__ import annotations

import shutil
import struct
import threading
from array import array
from collections.abc import Collection, Iterator, Sequence
from itertools import count
from pathlib import Path

import msgspec

from lockgate.mail.directory import RecipientRow
from lockgate.seams import Difference, Unavailable
from lockgate.storage.directory import CHANGES
from lockgate.storage.directory_log import Change, Follower, append_to_log, key_of, write_log
from lockgate.storage.layout import needle
from lockgate.storage.records import Group, Records, TableWriter, extras_of, is_group, pack, unpack

LARGE = 16 * 1024 * 1024
"""Octets of changed recipients above which an import goes into a new table, however few they are."""
LONG = 64 * 1024 * 1024
"""Octets of the log at which a merge is due."""
MANY = 5_000
"""More changed addresses than this are merged into the table, and smaller imports go into the log as one change."""


class RecipientStore:
    """seams.Recipients over `folder`; the only writer there. All methods may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self.table = folder / "recipients.table"
        self._log = self.table.with_name(self.table.name + CHANGES)
        self._lock = threading.RLock()
        self._building = threading.Lock()
        self._loading: set[str] = set()
        self._numbers = count(1)
        self._base: Records | None = None
        self._follower = Follower(self._log)
        self._owners: dict[bytes, RecipientRow | None] = {}
        self._filters: dict[bytes, dict[str, str]] | None = None
        self._revision = 0

    def ensure(self) -> bool:
        """Make an empty table if there is none, forget what an interrupted import left; whether anybody is known."""
        for left in self.table.parent.glob(f".{self.table.name}.*"):
            left.unlink(missing_ok=True)
        if not self.table.exists():
            TableWriter(self.table, "first").publish(1)
        # What earlier versions kept beside the table is all in the table.
        shutil.rmtree(self.table.parent / "lists", ignore_errors=True)
        return self.holds_anybody()

    def holds_anybody(self) -> bool:
        """Whether any organisation has recipients; changes nothing. Raises Unavailable."""
        return next(self._rows(None), None) is not None

    @property
    def revision(self) -> int:
        """The revision of the newest change. Raises Unavailable."""
        self._open()
        return self._revision

    def row(self, organisation: str, address: str) -> RecipientRow | None:
        """See Recipients."""
        try:
            key = key_of(organisation, address)
        except UnicodeEncodeError:
            return None
        base = self._open()
        with self._lock:
            if key in self._owners:
                return self._owners[key]
        try:
            group = base.find(key)
        except (ValueError, struct.error) as trouble:
            raise Unavailable(f"the recipients cannot be read: {trouble}") from None
        return _row(group) if group is not None else None

    def rows(self, organisation: str) -> Iterator[RecipientRow]:
        """See Recipients."""
        return self._rows(organisation)

    def groups(self, organisation: str) -> Iterator[RecipientRow]:
        """See Recipients."""
        for group in self._noted(organisation):
            if is_group(group):
                yield _row(group)

    def filters(self, organisation: str) -> dict[str, dict[str, str]]:
        """See Recipients."""
        base = self._open()
        prefix = key_of(organisation, "")
        with self._lock:
            owners = dict(self._owners)
            if self._filters is None:
                self._filters = _filters_in(base)
            filters = {key: found for key, found in self._filters.items() if key not in owners}
        filters |= {
            key_of(row.organisation, row.primary.key): row.recipient_filter
            for row in owners.values()
            if row is not None and row.recipient_filter
        }
        return {key[len(prefix) :].decode(): found for key, found in filters.items() if key.startswith(prefix)}

    def naming(self, organisation: str, keys: Collection[str]) -> list[RecipientRow]:
        """See Recipients."""
        wanted = frozenset(keys)
        texts = [needle(key) for key in wanted]
        found: list[RecipientRow] = []
        try:
            for group in self._noted(organisation):
                # Most are told by a few octets: unpacking 100,000 members takes a hundred times longer.
                if any(text in group.octets for text in texts) or extras_of(group).names(wanted):
                    row = unpack(group)
                    found += [row] if row.names(wanted) else []
        except ValueError as trouble:
            raise Unavailable(f"the recipients cannot be read: {trouble}") from None
        return found

    def change(self, organisation: str, before: Sequence[RecipientRow], after: Sequence[RecipientRow]) -> int:
        """See Recipients."""
        self._open()
        with self._lock:
            if organisation in self._loading:
                raise Unavailable("an import of this organisation is just being put in force; try again in a moment")
            return self._append(organisation, before, after)

    def load(self, organisation: str) -> Import:
        """See Recipients."""
        self._open()
        return Import(self, organisation, TableWriter(self.table, str(next(self._numbers))))

    @property
    def crowded(self) -> bool:
        """Whether so much has changed that a merge is due."""
        return len(self._owners) > MANY or self._follower.at > LONG

    def merge(self) -> None:
        """Write table and changes into a new table; changes go on meanwhile. Raises Unavailable, OSError."""
        if not self._building.acquire(blocking=False):
            return
        try:
            self._open()
            writer = TableWriter(self.table, str(next(self._numbers)))
            try:
                with self._lock:
                    base, owners, revision = self._opened(), dict(self._owners), self._revision
                for group in self._read_all(base, owners, None):
                    writer.add(group)
                self._swap(writer, revision)
            except BaseException:
                writer.drop()
                raise
        finally:
            self._building.release()

    # --- within ----------------------------------------------------------------------------------------------------

    def _open(self) -> Records:
        """Table and log as they lie there, read once. Raises Unavailable when they cannot be read."""
        with self._lock:
            if self._base is None:
                try:
                    self._base, self._filters = Records(self.table), None
                    self._follower.forget()
                    self._owners, self._revision = {}, self._base.revision
                    self._catch_up()
                except (OSError, ValueError, struct.error) as trouble:
                    self._base = None
                    raise Unavailable(f"the recipients cannot be read: {trouble}") from None
            return self._base

    def _opened(self) -> Records:
        if self._base is None:
            raise RuntimeError("the recipients have not been opened")
        return self._base

    def _catch_up(self) -> None:
        base = self._opened()
        _, changes = self._follower.look()
        if self._follower.start > base.revision:
            raise ValueError("the table is older than the log of its changes")
        for change in changes:
            if change.revision > base.revision:
                self._lay(change)

    def _lay(self, change: Change) -> None:
        for address in change.gone:
            self._owners[key_of(change.organisation, address)] = None
        for row in change.rows:
            for address in row.keys:
                self._owners[key_of(change.organisation, address)] = row
        self._revision = max(self._revision, change.revision)

    def _append(self, organisation: str, before: Sequence[RecipientRow], after: Sequence[RecipientRow]) -> int:
        gone = tuple(key for row in before for key in row.keys)
        change = Change(self._revision + 1, organisation, gone, tuple(after))
        try:
            if not self._log.exists():
                write_log(self._log, self._opened().revision, ())
                self._follower.forget()
                self._follower.look()
            self._follower.at = append_to_log(self._log, self._follower.at, change)
        except OSError as trouble:
            raise Unavailable(f"the change cannot be kept: {trouble}") from None
        self._lay(change)
        return change.revision

    def _swap(self, writer: TableWriter, revision: int) -> None:
        """The new table comes into force, and the log goes on from it."""
        with self._lock:
            writer.publish(revision)
            later = self._later(revision)
            write_log(self._log, revision, later)
            self._base = None
            self._open()

    def _later(self, revision: int) -> list[Change]:
        if not self._log.exists():
            return []
        follower = Follower(self._log)
        return [change for change in follower.look()[1] if change.revision > revision]

    def _rows(self, organisation: str | None) -> Iterator[RecipientRow]:
        base = self._open()
        with self._lock:
            owners = dict(self._owners)
        prefix = None if organisation is None else key_of(organisation, "")
        for group in self._read_all(base, owners, prefix):
            yield _row(group)

    def _noted(self, organisation: str) -> Iterator[Group]:
        """The groups of the organisation, and its recipients with extras."""
        base = self._open()
        with self._lock:
            owners = dict(self._owners)
        yield from self._read_all(base, owners, key_of(organisation, ""), noted=True)

    def _read_all(
        self, base: Records, owners: dict[bytes, RecipientRow | None], prefix: bytes | None, *, others: bool = False,
        noted: bool = False,
    ) -> Iterator[Group]:  # fmt: skip
        """Every recipient of the organisation with this key prefix (`others`: of all but that one).

        With `noted` at least those who are groups or have extras.
        """
        try:
            for group in base.noted() if noted else base.groups():
                first = group.keys[0][0]
                if (prefix is None or first.startswith(prefix) is not others) and first not in owners:
                    yield group
        except (ValueError, struct.error) as trouble:
            raise Unavailable(f"the recipients cannot be read: {trouble}") from None
        for key, row in owners.items():
            if row is None or key != key_of(row.organisation, row.primary.key):
                continue
            if prefix is None or key.startswith(prefix) is not others:
                yield pack(row)


def _filters_in(base: Records) -> dict[bytes, dict[str, str]]:
    """The filters by the keys of primary addresses."""
    try:
        return {group.keys[0][0]: found for group in base.noted() if (found := extras_of(group).recipient_filter)}
    except ValueError as trouble:
        raise Unavailable(f"the recipients cannot be read: {trouble}") from None


def _row(group: Group) -> RecipientRow:
    try:
        return unpack(group)
    except ValueError as trouble:
        raise Unavailable(f"the recipients cannot be read: {trouble}") from None


class Import:
    """seams.Loading: one organisation's recipients on their way in."""

    def __init__(self, store: RecipientStore, organisation: str, writer: TableWriter) -> None:
        self._store = store
        self._organisation = organisation
        self._prefix = key_of(organisation, "")
        self._writer = writer
        self._seen: dict[int, int] = {}
        self._lines = array("Q")
        self._places = array("Q")
        self._digests = array("q")
        self._missing: list[str] = []
        self._changed: list[RecipientRow] = []
        self._fresh: list[int] = []
        self._sealed = False
        self._building = False
        self._weight = 0

    def add(self, row: RecipientRow, line: int) -> tuple[str, int] | None:
        """See Loading."""
        group = pack(row)
        number, seen = len(self._lines), self._seen
        for key, _ in group.keys:
            first = seen.get(hash(key))
            if first is not None:
                return key.partition(b"\0")[2].decode(), self._lines[first]
        for key, _ in group.keys:
            seen[hash(key)] = number
        self._lines.append(line)
        self._digests.append(hash(group.octets))
        self._places.append(self._writer.add(group))
        return None

    def rows(self) -> Iterator[RecipientRow]:
        """See Loading."""
        return (_row(group) for group in self._writer.groups())

    def primary(self, address: str) -> str | None:
        """See Loading."""
        number = self._seen.get(hash(key_of(self._organisation, address)))
        if number is None:
            return None
        first = self._writer.again(self._places[number]).keys[0][0]
        return first.partition(b"\0")[2].decode()

    def seal(self) -> Difference:
        """See Loading."""
        store = self._store
        if not store._building.acquire(timeout=60.0):
            raise Unavailable("another import is just being put in force; try again in a moment")
        self._building = True
        base = store._open()
        with store._lock:
            store._loading.add(self._organisation)
            self._sealed = True
            owners = dict(store._owners)
        met = bytearray(len(self._lines))
        before = unchanged = changed = removed = shed = addresses = lost = 0
        for group in store._read_all(base, owners, self._prefix):
            before += 1
            addresses += len(group.keys)
            gone = sum(hash(key) not in self._seen for key, _ in group.keys)
            lost += gone
            number = self._seen.get(hash(group.keys[0][0]))
            if number is not None and self._digests[number] == hash(group.octets) and not met[number]:
                unchanged += 1
                met[number] = 1
                continue
            if number is None:
                removed += 1
                self._note_missing(group)
            else:
                changed += 1
                shed += gone
                self._fresh += [] if met[number] else [number]
                met[number] = 1
            self._weight += len(group.octets)
            if len(self._changed) <= MANY and self._weight <= LARGE:
                self._changed.append(unpack(group))
        added = met.count(0)
        if added + len(self._fresh) <= MANY:
            self._fresh += [number for number, seen in enumerate(met) if not seen]
        else:
            self._fresh = list(range(MANY + 1))
        missing = tuple(self._missing)
        return Difference(before, addresses, added, changed, removed, unchanged, lost, shed, missing)

    def _note_missing(self, group: Group) -> None:
        if len(self._missing) < 1000:
            self._missing.append(group.keys[0][0].partition(b"\0")[2].decode())

    def put(self, *, keep_missing: bool) -> int:
        """See Loading."""
        store = self._store
        if not self._sealed:
            raise RuntimeError("an import is put in force before it was compared")
        small = len(self._changed) + len(self._fresh) <= MANY and self._light()
        if small and store._opened().revision > 1:
            return self._put_small(keep_missing=keep_missing)
        with store._lock:
            store._revision += 1
            revision = store._revision
            base, owners = store._opened(), dict(store._owners)
        if keep_missing:
            for group in store._read_all(base, owners, self._prefix):
                kept = self._kept(unpack(group))
                if kept is not None:
                    self._writer.add(pack(kept))
        for group in store._read_all(base, owners, self._prefix, others=True):
            self._writer.add(group)
        try:
            store._swap(self._writer, revision)
        except OSError as trouble:
            raise Unavailable(f"the recipients cannot be kept: {trouble}") from None
        return revision

    def drop(self) -> None:
        """See Loading."""
        self._writer.drop()
        if self._sealed:
            with self._store._lock:
                self._store._loading.discard(self._organisation)
            self._sealed = False
        if self._building:
            self._building = False
            self._store._building.release()

    def _light(self) -> bool:
        """Whether what is changed and what is new are few octets."""
        ends = (*self._places[1:], self._writer.size)
        return self._weight + sum(ends[number] - self._places[number] for number in self._fresh) <= LARGE

    def _put_small(self, *, keep_missing: bool) -> int:
        store = self._store
        after = [unpack(self._writer.again(self._places[number])) for number in self._fresh]
        if keep_missing:
            after += [kept for row in self._changed if (kept := self._kept(row)) is not None]
        with store._lock:
            if not self._changed and not after:
                return store._revision
            return store._append(self._organisation, self._changed, after)

    def _kept(self, row: RecipientRow) -> RecipientRow | None:
        """A recipient that the file does not name, without the addresses that the file gives to others."""
        if hash(key_of(self._organisation, row.primary.key)) in self._seen:
            return None
        proxies = tuple(one for one in row.proxies if hash(key_of(self._organisation, one.key)) not in self._seen)
        return msgspec.structs.replace(row, proxies=proxies)
