"""Changes to documents as people wrote them: one object is added, changed or removed, and nothing else moves.

Only the piece of text that holds the object is read and written by tomlkit, so that a change in a large file costs no
more than one in a small file; what came out is compared with what was meant before it is handed back.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array

NEW_FILE = "policy.toml"
"""Where the first object goes when there is no document yet."""

_HEADER = re.compile(r"^[ \t]*\[(\[?)[ \t]*([A-Za-z0-9_-]+)[^\n]*$", re.MULTILINE)
_LITERAL = re.compile(r"\"\"\"(?:\\.|[^\\])*?\"\"\"|'''.*?'''", re.DOTALL)


class CannotEdit(Exception):
    """The object cannot be changed by program the way it is written; the message says what to do by hand."""


class Place(NamedTuple):
    """Where an object is written: file, table, and which of the file's tables of that name (0 the first)."""

    file: str
    table: str
    number: int


class Edit(NamedTuple):
    """Properties to write and properties to take away, which then have their defaults.

    Values are as `tomllib` would give them.
    """

    put: Mapping[str, Any]
    drop: tuple[str, ...] = ()


def changed(files: Mapping[str, str], place: Place, edit: Edit) -> dict[str, str]:
    """The texts with one object changed. Raises CannotEdit."""
    return all_changed(files, {place: edit})


def all_changed(files: Mapping[str, str], edits: Mapping[Place, Edit]) -> dict[str, str]:
    """The texts with these objects changed; each text is read once. Raises CannotEdit."""
    result = dict(files)
    for file in dict.fromkeys(place.file for place in edits):
        result[file] = _edited(files[file], {place: edit for place, edit in edits.items() if place.file == file})
    return result


def removed(files: Mapping[str, str], places: Iterable[Place]) -> dict[str, str]:
    """The texts without these objects, and without the comments that stand directly above them. Raises CannotEdit."""
    result = dict(files)
    by_file: dict[str, list[Place]] = {}
    for place in places:
        by_file.setdefault(place.file, []).append(place)
    for file, mine in by_file.items():
        mine.sort(reverse=True)  # the last first, so that the numbers of the others stay true
        result[file] = _without(files[file], mine)
    return result


def _without(text: str, places: list[Place]) -> str:
    data = tomllib.loads(text)
    for place in places:
        _take_out(data, place)
    known = _pieces(text)
    pieces = [_piece(text, place, known) for place in places]
    after = text
    for start, end in sorted((piece for piece in pieces if piece is not None), reverse=True):
        begin = _with_comment(after, start) or start  # what a file begins with is about the whole file
        above, below = after[:begin].rstrip("\n"), after[end:].lstrip("\n")
        after = above + ("\n\n" if above and below else "\n" if above else "") + below
    if None not in pieces and _same(after, data):
        return after
    document = _whole(text, places[0])
    for place in places:
        _take_out(document, place)
    return _checked(tomlkit.dumps(document), data, places[0])


def _take_out(data: Any, place: Place) -> None:
    del data[place.table][place.number]
    if not data[place.table]:
        del data[place.table]


def added(files: Mapping[str, str], file: str, table: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The texts with one object more, at the end of a file (made if it is not there). Raises CannotEdit."""
    text = files.get(file, "")
    data = tomllib.loads(text)
    if table == "operator":
        data[table] = dict(values)
    else:
        data.setdefault(table, []).append(dict(values))
    piece = tomlkit.document()
    row = tomlkit.table()
    _apply(row, Edit(values))
    if table == "operator":
        piece.add(table, row)
    else:
        rows = tomlkit.aot()
        rows.append(row)
        piece.add(table, rows)
    gap = "" if not text.strip() else "\n" if text.endswith("\n") else "\n\n"
    after = text + gap + tomlkit.dumps(piece)
    if not _same(after, data):  # the table is written as an inline list, which a header cannot continue
        raise CannotEdit(f"{file} holds {table} as a list in one line; write it as [[{table}]] tables first")
    return {**files, file: after}


def filled(files: Mapping[str, str], tables: Iterable[str], key: str, value: str) -> dict[str, str]:
    """The texts with `key` written into every object of these tables that lacks it. Raises CannotEdit."""
    wanted = frozenset(tables)
    result = dict(files)
    for file, text in files.items():
        data = tomllib.loads(text)
        places = [
            Place(file, table, index)
            for table in wanted
            for index, row in enumerate(data.get(table, ()))
            if key not in row
        ]
        if not places:
            continue
        for place in places:
            row = data[place.table][place.number]
            row[key] = value
        line = f"{key} = {tomlkit.item(value).as_string()}\n"
        pieces = _pieces(text)
        found = (pieces.get((place.table, place.number)) for place in places)
        for end in sorted((piece.body for piece in found if piece is not None), reverse=True):
            gap = "" if text[:end].endswith("\n") else "\n"
            text = text[:end] + gap + line + text[end:]
        result[file] = _checked(text, data, places[0])
    return result


# --- the piece of text that holds one object -------------------------------------------------------------------------


class _Piece(NamedTuple):
    """A stretch of the text, from its header to the next object's, and where the header's line ends."""

    start: int
    end: int
    body: int


def _pieces(text: str) -> dict[tuple[str, int], _Piece]:
    """Every [[table]] and [operator] of the text; [table.inner] belongs to the one before it."""
    quoted = [match.span() for match in _LITERAL.finditer(text)]
    found: list[tuple[str, int, int]] = []
    for header in _HEADER.finditer(text):
        if any(start < header.start() < end for start, end in quoted):
            continue
        many, name = header[1] == "[", header[2]
        inner = "." in header[0].split("]")[0]
        if inner and found and found[-1][0] == name:
            continue
        found.append((name if many or not inner else f"{name}.", header.start(), min(header.end() + 1, len(text))))
    counts: dict[str, int] = {}
    pieces: dict[tuple[str, int], _Piece] = {}
    for number, (name, start, body) in enumerate(found):
        index = counts.get(name, 0)
        counts[name] = index + 1
        end = found[number + 1][1] if number + 1 < len(found) else len(text)
        pieces[(name, index)] = _Piece(start, end, body)
    return pieces


def _piece(text: str, place: Place, pieces: Mapping[tuple[str, int], _Piece]) -> tuple[int, int] | None:
    """From the object's header to its last line."""
    found = pieces.get((place.table, place.number))
    if found is None:
        return None
    # What stands directly above the next object is that object's comment.
    end = max(_with_comment(text, found.end) if found.end < len(text) else found.end, found.body)
    filled = found.start + len(text[found.start : end].rstrip("\n"))
    return found.start, min(filled + 1, end)


def _with_comment(text: str, start: int) -> int:
    """Where the lines of comment directly above this place begin."""
    while start > 0:
        before = text.rfind("\n", 0, start - 1) + 1
        if not text[before:start].lstrip().startswith("#"):
            break
        start = before
    return start


# --- writing and comparing -------------------------------------------------------------------------------------------


def _edited(text: str, edits: Mapping[Place, Edit]) -> str:
    data = tomllib.loads(text)
    for place, edit in edits.items():
        row = data[place.table] if place.table == "operator" else data[place.table][place.number]
        row.update(edit.put)
        for key in edit.drop:
            row.pop(key, None)
    try:
        after = _in_pieces(text, edits)
        if after is not None and _same(after, data):
            return after
    except (TOMLKitError, KeyError, IndexError):
        pass  # not written in pieces of its own; then the whole text is read
    first = next(iter(edits))
    document = _whole(text, first)
    for place, edit in edits.items():
        _write(document, place, edit)
    return _checked(tomlkit.dumps(document), data, first)


def _in_pieces(text: str, edits: Mapping[Place, Edit]) -> str | None:
    """The text with each object changed in its own piece; None if one of them has none."""
    known = _pieces(text)
    found = [(_piece(text, place, known), place, edit) for place, edit in edits.items()]
    after = text
    for piece, place, edit in sorted(found, key=lambda one: one[0] or (0, 0), reverse=True):
        if piece is None:
            return None
        start, end = piece
        document = tomlkit.parse(text[start:end])
        _write(document, place, edit)
        after = after[:start] + tomlkit.dumps(document) + after[end:]  # the last first: the others stay in place
    return after


def _write(document: Any, place: Place, edit: Edit) -> None:
    row = document[place.table]
    _apply(row if place.table == "operator" else row[0 if _is_piece(document) else place.number], edit)


def _is_piece(document: Any) -> bool:
    return sum(len(value) if isinstance(value, list) else 1 for value in document.values()) == 1


def _whole(text: str, place: Place) -> Any:
    try:
        return tomlkit.parse(text)
    except TOMLKitError as trouble:
        raise CannotEdit(f"{place.file} cannot be changed by program ({trouble}); edit it by hand") from None


def _apply(row: Any, edit: Edit) -> None:
    for key, value in edit.put.items():
        if not _in_place(row.get(key), value):
            row[key] = _item(value)
    for key in edit.drop:
        if key in row:
            del row[key]


def _in_place(array: Any, value: Any) -> bool:
    """Take entries out of a list and put others behind them, so that those that stay keep their lines and comments.

    False if more than that is wanted, or nothing stays; the list is written anew then.
    """
    if not isinstance(array, Array) or not isinstance(value, list | tuple):
        return False
    was, wanted = array.unwrap(), [*value]
    stays = [one for one in was if one in wanted]
    if not stays or wanted[: len(stays)] != stays:
        return False
    for number in reversed(range(len(was))):
        if was[number] not in wanted:
            del array[number]
    for one in wanted[len(stays) :]:
        array.append(_item(one))
    return bool(array.unwrap() == wanted)


def _item(value: Any) -> Any:
    match value:
        case list() | tuple():
            array = tomlkit.array()
            for one in value:
                array.append(_item(one))
            if len(tomlkit.item(array).as_string()) > 100:
                array.multiline(multiline=True)
            return array
        case Mapping():
            table = tomlkit.inline_table()
            for key, one in value.items():
                table[key] = _item(one)
            return table
        case _:
            return value


def _same(text: str, data: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == data
    except (ValueError, RecursionError):
        return False


def _checked(text: str, data: Mapping[str, Any], place: Place) -> str:
    if not _same(text, data):
        raise CannotEdit(f"{place.file} is written in a way that cannot be changed by program; edit it by hand")
    return text
