"""The entries of named lists: for each list a small file that says how it stands, and a table that it names.

What few people change stands in the small file (a table of a million entries is not written for one of them), which is
replaced as a whole: whoever reads it sees the list before or after a change. A table is never changed; the one before
it is kept until the next is there, for those who are just reading.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import struct
import threading
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from lockgate.mail.findings import Unknown
from lockgate.mail.lists import ListEntry, ListKind, ListName
from lockgate.seams import Clock, ListChange, Unavailable
from lockgate.storage.directory_log import sync_folder
from lockgate.storage.list_table import ListTable, ListWriter

LOOK = 0.25
"""Seconds within which a change is noticed."""
MANY = 2000
"""More changed entries than this come into a new table."""
PATIENCE = 300.0
"""Seconds for which a change waits for another one of the same list."""

_FORMAT = 1
_TRIES = 3
_DAMAGE = (OSError, ValueError, struct.error, IndexError, msgspec.MsgspecError)


class _State(msgspec.Struct, frozen=True, array_like=True):
    """How a list stands: its table ("": none), what was added to that since and what is gone from it (first keys).

    `count` is how many entries there are, `signs` the version of Unicode by which words were folded.
    """

    format: int
    name: ListName
    revision: int = 0
    table: str = ""
    count: int = 0
    added: tuple[ListEntry, ...] = ()
    gone: tuple[str, ...] = ()
    changed: float = 0.0
    by: str = ""
    signs: str = unicodedata.unidata_version


_READ = msgspec.msgpack.Decoder(_State).decode
_WRITE = msgspec.msgpack.Encoder().encode


class TableView:
    """seams.ListView over a state and its table."""

    __slots__ = ("_added", "_gone", "_marks", "_own", "_state", "table")

    def __init__(self, state: _State, table: ListTable | None) -> None:
        self._state = state
        self.table = table
        self._added: dict[str, ListEntry] = {}
        self._marks = frozenset([mark for entry in state.added for mark in entry.marks])
        self._gone = frozenset(state.gone)
        self._own = frozenset([entry.key for entry in state.added])
        for entry in state.added:
            for key in entry.keys:
                self._added.setdefault(key, entry)

    @property
    def revision(self) -> int:
        """See ListView."""
        return self._state.revision

    @property
    def count(self) -> int:
        """See ListView."""
        return self._state.count

    @property
    def changed(self) -> float:
        """See ListView."""
        return self._state.changed

    @property
    def by(self) -> str:
        """See ListView."""
        return self._state.by

    @property
    def state(self) -> _State:
        """What this is a view of."""
        return self._state

    def find(self, key: str) -> ListEntry | None:
        """See ListView."""
        found = self._added.get(key)
        if found is not None or self.table is None:
            return found
        try:
            return self.table.find(key, self._gone)
        except _DAMAGE as trouble:
            raise Unavailable(f"the list is damaged ({trouble})") from None

    def has(self, entry: ListEntry) -> bool:
        """Whether this very entry is there, in whatever spelling. Raises Unavailable."""
        key = entry.key
        if key in self._own:
            return True
        if self.table is None or key in self._gone:
            return False
        try:
            return self.table.has(key)
        except _DAMAGE as trouble:
            raise Unavailable(f"the list is damaged ({trouble})") from None

    def some_of(self, keys: Collection[str]) -> Sequence[str]:
        """See ListView."""
        found = self.table.some_of(keys) if self.table is not None else []
        if self._added:
            added, marks = self._added, self._marks
            found += [key for key in keys if key in added or key in marks]
        return found

    def entries(self) -> Iterator[ListEntry]:
        """See ListView."""
        try:
            if self.table is not None:
                gone = self._gone
                yield from (entry for entry in self.table.entries() if entry.key not in gone)
        except _DAMAGE as trouble:
            raise Unavailable(f"the list is damaged ({trouble})") from None
        yield from self._state.added


class _Open:
    """One list as a reader has it."""

    __slots__ = ("looked", "sign", "view")

    def __init__(self) -> None:
        self.looked = float("-inf")
        self.sign: tuple[int, int, int] | None = None
        self.view: TableView | Unknown = Unknown("the list has not been read yet")


class ListFiles:
    """seams.Lists over `folder`; what has changed is noticed within LOOK seconds. For any thread."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._now = clock.monotonic
        self._open: dict[ListName, _Open] = {}

    def view(self, name: ListName) -> TableView | Unknown:
        """See Lists."""
        mine = self._open.get(name)
        if mine is None:
            mine = self._open[name] = _Open()
        now = self._now()
        if now - mine.looked >= LOOK or now < mine.looked:
            mine.looked = now
            self._look(name, mine)
        return mine.view

    def _look(self, name: ListName, mine: _Open) -> None:
        path = self._folder / _file_of(name)
        try:
            sign = _sign(path)
            if sign != mine.sign or isinstance(mine.view, Unknown):
                mine.view = _read(self._folder, name, mine.view)
                mine.sign = sign
        except _DAMAGE as trouble:
            # What cannot be read is unknown, never "not on the list": an outage is not a verdict.
            mine.sign, mine.view = None, Unknown(f"the list {name.name} cannot be read ({trouble})")


class ListStore:
    """seams.ListKeeper over `folder`; the only writer there. All methods may be called from any thread."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self._clock = clock
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def ensure(self, fold: Callable[[str], ListEntry]) -> None:
        """Make the folder, remove what interrupted changes left, and fold words anew (`fold`) after a change of
        Unicode. Raises OSError; a list that cannot be read is left as it is."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self.folder.glob("*.new"):
            left.unlink(missing_ok=True)
        for path in self.folder.glob("*.list"):
            with contextlib.suppress(*_DAMAGE, Unavailable):
                state = _READ(path.read_bytes())
                self._sweep(state, state.table)
                if state.name.kind is ListKind.WORDS and state.signs != unicodedata.unidata_version:
                    view = _read(self.folder, state.name, None)
                    entries = (fold(entry.text) for entry in view.entries())
                    self._put_all(view.state, entries, state.by, state.changed)

    def current(self, name: ListName) -> TableView:
        """See ListKeeper."""
        try:
            return _read(self.folder, name, None)
        except _DAMAGE as trouble:
            raise Unavailable(f"the list {name.name} cannot be read: {trouble}") from None

    def change(
        self, name: ListName, add: Sequence[ListEntry], remove: Sequence[ListEntry], by: str, *, what_if: bool
    ) -> ListChange:
        """See ListKeeper."""
        with self._turn(name):
            view = self.current(name)
            fresh: dict[str, ListEntry] = {}
            for entry in add:
                if not view.has(entry):
                    fresh.setdefault(entry.key, entry)
            gone = {entry.key: entry for entry in remove if view.has(entry)}
            missing = tuple(entry.text for entry in remove if entry.key not in gone)
            there = len({entry.key for entry in add}) - len(fresh)
            after = view.count + len(fresh) - len(gone)
            told = ListChange(view.revision, view.count, after, len(fresh), there, len(gone), missing)
            if what_if or not (fresh or gone):
                return told
            state = _changed(view.state, list(fresh.values()), gone.keys())
            if len(state.added) + len(state.gone) > MANY:
                entries = itertools.chain(
                    (one for one in view.entries() if one.key not in gone), fresh.values()
                )
                revision = self._put_all(view.state, entries, by)
            else:
                revision = self._put(msgspec.structs.replace(state, count=after), by)
            return msgspec.structs.replace(told, revision=revision)

    def load(
        self, name: ListName, entries: Iterable[ListEntry], by: str, *, replace: bool, what_if: bool
    ) -> ListChange:
        """See ListKeeper."""
        with self._turn(name):
            view = self.current(name)
            arriving = _Arriving(view, entries, everything=replace)
            if what_if:
                for _ in arriving:
                    pass
                return arriving.told(view.revision)
            first = list(itertools.islice(arriving, MANY + 1))
            if len(first) <= MANY:
                if not (arriving.added or arriving.removed):
                    return arriving.told(view.revision)
                base = _State(_FORMAT, name, view.revision) if replace else view.state
                few = _changed(base, first, ())
                if len(few.added) + len(few.gone) <= MANY:
                    revision = self._put(msgspec.structs.replace(few, count=arriving.after), by)
                    return arriving.told(revision)
            kept = iter(()) if replace else view.entries()
            revision = self._put_all(view.state, itertools.chain(kept, first, arriving), by)
            return arriving.told(revision)

    def clear(self, name: ListName, by: str, *, what_if: bool) -> ListChange:
        """See ListKeeper."""
        with self._turn(name):
            view = self.current(name)
            told = ListChange(view.revision, view.count, 0, removed=view.count)
            if what_if or not view.count:
                return told
            return msgspec.structs.replace(told, revision=self._put(_State(_FORMAT, name, view.revision), by))

    # --- within ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _turn(self, name: ListName) -> Iterator[None]:
        """Nobody else changes this list meanwhile. Raises Unavailable."""
        with self._guard:
            lock = self._locks.setdefault(_file_of(name), threading.Lock())
        if not lock.acquire(timeout=PATIENCE):
            raise Unavailable(f"the list {name.name} is just being changed by somebody else; try again in a moment")
        try:
            yield
        finally:
            lock.release()

    def _put_all(
        self, before: _State, entries: Iterable[ListEntry], by: str, changed: float | None = None
    ) -> int:
        """A new table of these entries comes into force; the revision. Raises Unavailable."""
        table = _table_of(before)
        try:
            writer = ListWriter(self.folder / table)
            try:
                for entry in entries:
                    writer.add(entry)
                writer.publish()
            except BaseException:
                writer.drop()
                raise
        except OSError as trouble:
            raise Unavailable(f"the list cannot be kept: {trouble}") from None
        state = _State(_FORMAT, before.name, before.revision, table, writer.count)
        return self._put(state, by, changed)

    def _put(self, state: _State, by: str, changed: float | None = None) -> int:
        """The state comes into force as the next revision, durably; its number. Raises Unavailable."""
        at = self._clock.now() if changed is None else changed
        fresh = msgspec.structs.replace(
            state, revision=state.revision + 1, changed=at, by=by, signs=unicodedata.unidata_version
        )
        path = self.folder / _file_of(state.name)
        early = path.with_name(f"{path.name}.new")
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            before = self.current(state.name).state.table
            with early.open("wb") as file:
                file.write(_WRITE(fresh))
                file.flush()
                os.fsync(file.fileno())
            early.replace(path)
            sync_folder(self.folder)
        except OSError as trouble:
            early.unlink(missing_ok=True)
            raise Unavailable(f"the list cannot be kept: {trouble}") from None
        self._sweep(fresh, before)
        return fresh.revision

    def _sweep(self, state: _State, before: str) -> None:
        """Remove the tables that neither this state nor the one before it names."""
        stem = _file_of(state.name).removesuffix(".list")
        for path in self.folder.glob(f"{stem}.r*.table"):
            if path.name not in (state.table, before):
                with contextlib.suppress(OSError):
                    path.unlink()


class _Arriving:
    """Entries on their way into a list, each once; those that are there already only if `everything` is put anew."""

    def __init__(self, view: TableView, entries: Iterable[ListEntry], *, everything: bool) -> None:
        self._view = view
        self._entries = iter(entries)
        self._everything = everything
        self._seen: set[int] = set()
        self.added = self.there = 0

    def __iter__(self) -> Iterator[ListEntry]:
        return self

    def __next__(self) -> ListEntry:
        while True:
            entry = next(self._entries)
            # A million texts would take five times the memory of their hashes.
            mark = hash(entry.key)
            if mark in self._seen:
                continue
            self._seen.add(mark)
            if self._view.count and self._view.has(entry):
                self.there += 1
                if not self._everything:
                    continue
            else:
                self.added += 1
            return entry

    @property
    def removed(self) -> int:
        """Entries of the list that did not arrive."""
        return self._view.count - self.there if self._everything else 0

    @property
    def after(self) -> int:
        """Entries of the list afterwards."""
        return self.added + (self.there if self._everything else self._view.count)

    def told(self, revision: int) -> ListChange:
        """What was found, once all have arrived."""
        return ListChange(revision, self._view.count, self.after, self.added, self.there, self.removed)


def _changed(state: _State, add: Sequence[ListEntry], gone: Collection[str]) -> _State:
    """The state with these entries besides and without those; its count is as it was."""
    kept = [entry for entry in state.added if entry.key not in gone]
    was = {entry.key for entry in state.added}
    # An entry that comes back stands at the end; its old record stays out of sight.
    lost = tuple(dict.fromkeys([*state.gone, *(key for key in gone if key not in was)]))
    return msgspec.structs.replace(state, added=(*kept, *add), gone=lost if state.table else ())


def _file_of(name: ListName) -> str:
    """The name of a list's file: something to recognise it by, and a digest that no other list has."""
    whole = "\0".join((name.organisation, name.kind.value, name.name.casefold()))
    plain = re.sub(r"[^a-z0-9]+", "-", name.name.casefold()).strip("-")[:32] or "list"
    return f"{plain}-{hashlib.blake2b(whole.encode(), digest_size=10).hexdigest()}.list"


def _table_of(state: _State) -> str:
    """The name of the table that the next revision has. Behind the list's file in order, as a backup copies them."""
    return f"{_file_of(state.name).removesuffix('.list')}.r{state.revision + 1:010d}.table"


def _sign(path: Path) -> tuple[int, int, int] | None:
    """What tells one state of a file from another; None where there is none yet. Raises OSError."""
    try:
        there = path.stat()
    except FileNotFoundError:
        path.parent.stat()  # without the folder nothing can be known
        return None
    return there.st_ino, there.st_mtime_ns, there.st_size


def _read(folder: Path, name: ListName, before: TableView | Unknown | None) -> TableView:
    """The list as it lies there. Raises OSError, ValueError, MsgspecError."""
    path = folder / _file_of(name)
    known = before if isinstance(before, TableView) else None
    for _ in range(_TRIES):
        if _sign(path) is None:
            return TableView(_State(_FORMAT, name), None)
        state = _READ(path.read_bytes())
        if state.format > _FORMAT:
            raise ValueError("it was written by a newer version")
        if not state.table:
            return TableView(state, None)
        if known is not None and known.state.table == state.table:
            return TableView(state, known.table)
        with contextlib.suppress(FileNotFoundError):  # it was replaced between the two looks
            return TableView(state, ListTable(folder / state.table))
    raise FileNotFoundError(f"its table {state.table} is not there")
