"""The canonical forms of RFC 6376 3.4, each in one linear pass; a hostile megabyte of blanks costs what it weighs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

_RUNS = re.compile(rb"  +")
_FOLDS = re.compile(rb"[ \t\r\n]+")

Field = tuple[bytes, bytes]
"""Name and raw value of one header field, as mail/headers.py splits them."""


def simple_field(field: Field) -> bytes:
    """The field as it is (3.4.1)."""
    return field[0] + b":" + field[1] + b"\r\n"


def relaxed_field(field: Field) -> bytes:
    """Lower-case name, one line, single blanks (3.4.2)."""
    name, value = field
    if b"\v" in value or b"\f" in value:  # which split() takes for blanks, and mail does not
        value = _FOLDS.sub(b" ", value).strip(b" ")
    else:
        value = b" ".join(value.split())
    return name.lower().rstrip(b" \t") + b":" + value + b"\r\n"


def simple_body(body: bytes) -> bytes:
    """Without empty lines at the end, but with one line end (3.4.3)."""
    return without_empty_lines(body) or b"\r\n"


def relaxed_body(body: bytes) -> bytes:
    """Single blanks, none at the end of a line, no empty lines at the end (3.4.4)."""
    # In this order both passes are linear; "blanks before a line end" as one pattern would try from every blank.
    plain = _single_blanks(body)
    if plain.find(b" \r\n") >= 0:
        plain = plain.replace(b" \r\n", b"\r\n")
    if plain.endswith(b" "):
        plain = plain[:-1]
    return without_empty_lines(plain)


def _single_blanks(text: bytes) -> bytes:
    """Each run of blanks and tabs as one blank."""
    text = text.replace(b"\t", b" ")
    for _ in range(4):
        # Short runs, of which there may be a million, are cheapest this way; a pattern costs something for each.
        if b"  " not in text:
            return text
        text = text.replace(b"  ", b" ")
    return _RUNS.sub(b" ", text)


def without_empty_lines(body: bytes) -> bytes:
    """The body up to its last line that says something, ended by CRLF; b"" if there is none."""
    if body.endswith(b"\r\n") and not body.endswith(b"\n\r\n"):
        return body if len(body) > 2 else b""  # as nearly all bodies end
    end = len(body.rstrip(b"\r\n"))
    tail = body[end:]
    # The last bare CR or LF ends what is kept: behind it are whole line ends only.
    odd = max(tail.rfind(b"\n\n"), tail.rfind(b"\r\r")) + 1
    odd += tail.startswith(b"\n", odd)
    kept = body[: end + odd] if body.endswith(b"\n") else body
    return kept + b"\r\n" if kept else b""


class Bodies:
    """The hashes of one body, each form made once. Memory: the body and at most both forms."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._forms: dict[bool, bytes] = {}
        self._hashes: dict[tuple[bool, int | None], bytes] = {}

    def form(self, *, relaxed: bool) -> bytes:
        """The canonical form."""
        found = self._forms.get(relaxed)
        if found is None:
            found = self._forms[relaxed] = relaxed_body(self._body) if relaxed else simple_body(self._body)
        return found

    def digest(self, *, relaxed: bool, length: int | None = None) -> bytes:
        """SHA-256 of the canonical form, or of its first `length` octets."""
        key = (relaxed, length)
        found = self._hashes.get(key)
        if found is None:
            form = self.form(relaxed=relaxed)
            found = self._hashes[key] = hashlib.sha256(form if length is None else form[:length]).digest()
        return found

    def prepare(self, *, relaxed: bool, lengths: Iterable[int] = ()) -> None:
        """Make the hashes of a form and of its beginnings in one pass, so that ten signatures cost as much as one."""
        wanted = sorted([length for length in lengths if (relaxed, length) not in self._hashes])
        if not wanted and (relaxed, None) in self._hashes:
            return
        form = memoryview(self.form(relaxed=relaxed))
        digest, done = hashlib.sha256(), 0
        for length in wanted:
            digest.update(form[done:length])
            done = max(done, min(length, len(form)))
            self._hashes[relaxed, length] = digest.copy().digest()
        if (relaxed, None) not in self._hashes:
            digest.update(form[done:])
            self._hashes[relaxed, None] = digest.digest()


Forms = dict[int, bytes]
"""Canonical forms of one message's fields that were made already, by the identity of the field."""


def signed_fields(fields: Sequence[Field], names: Sequence[bytes], own: Field | None = None) -> list[Field]:
    """The fields that a list of names means: each name takes the lowest field not taken yet (5.4.2), `own` never."""
    left: dict[bytes, list[Field]] = {name: [] for name in names}
    for field in fields:
        of_name = left.get(field[0].lower())
        if of_name is not None and field is not own:
            of_name.append(field)
    return [of_name.pop() for name in names if (of_name := left[name])]
