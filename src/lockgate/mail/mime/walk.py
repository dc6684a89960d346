"""Walks a message's parts: never raises, linear, and gives both readings where the structure is ambiguous.

A filter must not see less than any mail program behind it. So of two Content-Type fields both are followed, parts
behind the closing delimiter are parts, what stands before the first and behind the last is text, and every value that
might be taken for a boundary, a transfer encoding or a file name is. Where none is named, what looks like one is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from lockgate.mail.headers import HEADER_LIMIT, read_headers, unfold
from lockgate.mail.mime.encodings import decoded
from lockgate.mail.mime.parameters import (
    MOST_PARAMETERS,
    Reading,
    first_word,
    name_readings,
    parameters,
    pooled,
    tails_of,
    values_of,
    without_comments,
)
from lockgate.mail.structure import Part

MOST_PARTS = 500
"""Of one message, the readings taken together."""

MOST_DEPTH = 30
"""Of parts within parts."""

_MOST_NAMES = 32
"""Of one part: the first and the last ones."""

_LONGEST_NAME = 256
"""Of a longer one the beginning and the end are kept, an ellipsis between them."""

_MOST_FIELDS = 4
"""Content-Type fields of one part that are looked at: the first ones and the last."""

_WORK = 8
"""So many times its size may be looked at of a message; readings within readings must not multiply."""

_UU = re.compile(rb"(?:^|\n)begin [0-7]{3,4} ([^\r\n]{1,200})\r?\n")
_BLANK_LINE = re.compile(rb"\r\n[ \t\v\f]+\r\n")
_LOOKS_LIKE = re.compile(rb"(?i)(?:^|[\r\n])--([^\r\n]{0,200})\r?\ncontent-(?:type|disposition|transfer-encoding):")
_NO_MESSAGE = frozenset(("message/delivery-status", "message/disposition-notification", "message/external-body",
                         "message/partial", "message/feedback-report"))  # fmt: skip


class Leaf:
    """A part without parts: what is said of it, and its octets in each reading.

    `kinds` are all media types that some mail program would take it for, `charsets` the character sets.
    """

    __slots__ = ("_encodings", "_raw", "charsets", "kinds", "part")

    def __init__(
        self, part: Part, raw: bytes, encodings: tuple[str, ...], kinds: tuple[str, ...] = (),
        charsets: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.part = part
        self.kinds = kinds or (part.kind,)
        self.charsets = charsets
        self._raw = raw
        self._encodings = encodings

    def readings(self) -> tuple[bytes, ...]:
        """The octets, decoded in each way that they may be; at least one."""
        return decoded(self._raw, self._encodings)


class Walked:
    """The parts in the order in which they begin; `cut` tells that there were more, or deeper ones."""

    __slots__ = ("cut", "leaves", "parts")

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.leaves: list[Leaf] = []
        self.cut = False


def walk(octets: bytes) -> Walked:
    """All parts of a message, its header included. Never raises."""
    walker = _Walker(len(octets) * _WORK + 65536)
    walker.entity(octets, 0, "text/plain")
    return walker.found


class _Said:
    """What the header of one part says, in every reading."""

    __slots__ = ("boundaries", "charsets", "cut", "disposed", "encodings", "kinds", "names", "other_boundaries")

    def __init__(self, head: bytes, default: str) -> None:
        headers = read_headers(head)
        types, dispositions, encodings = [], [], []
        for name, value in headers.fields:
            match name.strip().lower():
                case b"content-type":
                    types.append(unfold(value))
                case b"content-disposition":
                    dispositions.append(unfold(value))
                case b"content-transfer-encoding":
                    encodings.append(unfold(value))
        pieces = sum(text.count(";") for text in (*types, *dispositions))
        self.cut = max(len(types), len(dispositions)) > _MOST_FIELDS or pieces > MOST_PARAMETERS
        types, dispositions = _few(types), _few(dispositions)
        readings = _readings(types)
        self.kinds = tuple(dict.fromkeys(first_word(text) or default for text in types)) or (default,)
        self.encodings = tuple(dict.fromkeys([*map(_encoding, _few(encodings)), *_swallowed(head)])) or ("",)
        self.disposed = any(first_word(text) == "attachment" for text in dispositions)
        written = dict.fromkeys(one.rstrip() for reading in readings for one in values_of(reading, "boundary"))
        self.boundaries = _as_octets(written)
        self.other_boundaries = _as_octets(one for text in written for one in (text.strip("'\""), text.split(" ")[0]))
        charsets = dict.fromkeys(one[:40] for reading in readings for one in values_of(reading, "charset"))
        self.charsets = tuple(dict.fromkeys((*tuple(charsets)[:1], *tuple(charsets)[-1:])))
        self.names, cut = _names((types, readings, "name"), (dispositions, _readings(dispositions), "filename"))
        self.cut = self.cut or cut or len(charsets) > 2  # programs take the first one, or the last


class _Walker:
    __slots__ = ("_left", "found")

    def __init__(self, work: int) -> None:
        self.found = Walked()
        self._left = work

    def entity(self, octets: bytes, depth: int, default: str) -> None:
        """One part with its header, and what is in it."""
        self._left -= len(octets)
        if depth > MOST_DEPTH or len(self.found.parts) >= MOST_PARTS or self._left < 0:
            self.found.cut = True
            return
        head = octets[: HEADER_LIMIT + 4]
        blank, end = _body_start(head)
        said = _Said(head[:end], default)
        self.found.cut = self.found.cut or said.cut
        body = octets[end:]
        split = False
        for boundary in said.boundaries:  # every one of them, not only the first that leads to parts
            split = self._split(body, boundary, said, depth) or split
        if split:
            return
        guessed = _guessed(body)
        others = said.other_boundaries if guessed is None else (*said.other_boundaries, guessed)
        if any(self._split(body, boundary, said, depth) for boundary in others):
            return
        self._leaf(body, said, depth)
        if blank != end:
            self._leaf(octets[blank:], said, depth)

    def _split(self, body: bytes, boundary: bytes, said: _Said, depth: int) -> bool:
        """Walk the parts between these delimiters; False if there are none."""
        self._left -= len(body)
        marks = list(_delimiters(body, boundary))
        if not marks:
            return False
        kind = next((one for one in said.kinds if one.startswith("multipart/")), "multipart/mixed")
        self._add(Part(kind, depth, 0))
        self._loose(body[: marks[0][0]], depth + 1)
        default = "message/rfc822" if kind == "multipart/digest" else "text/plain"
        for number, (_, start, closing) in enumerate(marks):
            end = marks[number + 1][0] if number + 1 < len(marks) else len(body)
            if closing and number + 1 == len(marks):
                self._loose(body[start:end], depth + 1)
            else:
                self.entity(body[start:end], depth + 1, default)
        return True

    def _loose(self, text: bytes, depth: int) -> None:
        """What stands outside of all parts: some programs show it."""
        if text.strip():
            part = Part("text/plain", depth, len(text))
            self._add(part)
            self.found.leaves.append(Leaf(part, text, ("",)))

    def _leaf(self, body: bytes, said: _Said, depth: int) -> None:
        kind = said.kinds[0]
        within = next((one for one in said.kinds if one.startswith("message/") and one not in _NO_MESSAGE), "")
        readings = decoded(body, said.encodings) if within or said.encodings != ("",) else (body,)
        size = max(map(len, readings))
        self._left -= size
        attached = said.disposed or bool(said.names) or bool(within) or not kind.startswith(("text/", "multipart/"))
        first, last = (said.charsets[:1] or ("",))[0], said.charsets[1:]
        part = Part(kind, depth, size, said.names, first, attached, "".join(last))
        self._add(part)
        if within:
            for reading in readings:
                self.entity(_with_crlf(reading), depth + 1, "text/plain")
            return
        self.found.leaves.append(Leaf(part, body, said.encodings, said.kinds, said.charsets))
        if b"begin " in body:
            for match in _UU.finditer(body):
                name = match[1].decode("utf-8", "replace").strip()
                within_text = Part("application/octet-stream", depth + 1, 0, (name,), attachment=True)
                self._add(within_text)
                self._left -= len(body) - match.start()
                if self._left > 0:
                    self.found.leaves.append(Leaf(within_text, body[match.start() :].lstrip(), ("x-uuencode",)))

    def _add(self, part: Part) -> None:
        if len(self.found.parts) < MOST_PARTS:
            self.found.parts.append(part)
        else:
            self.found.cut = True


def _few(texts: list[str]) -> list[str]:
    return texts if len(texts) <= _MOST_FIELDS else [*texts[: _MOST_FIELDS - 1], texts[-1]]


def _body_start(head: bytes) -> tuple[int, int]:
    """Where the body begins for those who take a line of blanks for the end of the header, and for those who do not."""
    if head.startswith(b"\r\n"):
        return 2, 2
    end = head.find(b"\r\n\r\n")
    end = end + 4 if end >= 0 else len(head)
    blank = _BLANK_LINE.search(head, 0, end)
    return (blank.end(), end) if blank is not None else (end, end)


def _readings(texts: list[str]) -> list[Reading]:
    """The readings of each field, and of several fields as one."""
    found = [reading for text in texts for reading in parameters(text)]
    return [*found, pooled(found)] if len(texts) > 1 else found


def _encoding(text: str) -> str:
    return "".join(without_comments(text).split()).lower()[:80]


def _swallowed(head: bytes) -> list[str]:
    """An encoding that stands in the continuation of another field, or behind a name without its colon."""
    lower = head.lower()
    at = lower.find(b"content-transfer-encoding")
    if at < 0:
        return []
    return [_encoding(lower[at + 25 : at + 105].partition(b"\n")[0].decode("latin-1").strip(" :\r\t"))]


def _guessed(body: bytes) -> bytes | None:
    """What looks like a delimiter, where none was named: a line that begins with dashes, and a field behind it."""
    found = _LOOKS_LIKE.search(body) if b"--" in body else None
    return found[1].rstrip() if found is not None else None


def _as_octets(boundaries: Iterable[str]) -> tuple[bytes, ...]:
    return tuple([one[:256].encode("utf-8", "replace") for one in boundaries if one][:_MOST_FIELDS])


def _names(*fields: tuple[list[str], list[Reading], str]) -> tuple[tuple[str, ...], bool]:
    """All file names, and whether something of them is left out."""
    found: dict[str, None] = {}
    cut = False
    for texts, readings, name in fields:
        values = [value for reading in readings for value in values_of(reading, name)]
        tails = [tail for text in texts for tail in tails_of(text, name) if values and ";" in tail]
        for number, value in enumerate((*values, *tails)):
            for way, one in enumerate(name_readings((value,))):
                short = one if len(one) <= _LONGEST_NAME else _shortened(one)
                if short.strip():
                    found[short] = None
                    # Nothing is lost of what is long only as it is spelled, or with other parameters behind it.
                    cut = cut or (len(short) > _LONGEST_NAME and not way and number < len(values))
    names = tuple(found)
    if len(names) > _MOST_NAMES:
        half = _MOST_NAMES // 2
        return names[:half] + names[-half:], True
    return names, cut


def _shortened(name: str) -> str:
    """A long name without what Windows leaves out anyhow; if it is still long, beginning and end of it."""
    plain = "".join(sign for sign in name if sign.isprintable()).rstrip(" .'\"")
    half = _LONGEST_NAME // 2
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[:half]}…{plain[-half:]}"


def _delimiters(body: bytes, boundary: bytes) -> Iterator[tuple[int, int, bool]]:
    """Where each delimiter begins and ends, and whether it is a closing one (RFC 2046 5.1.1).

    Where no line is the delimiter alone, lines that begin with it are taken.
    """
    exact = list(_lines(body, boundary, exact=True))
    return iter(exact or list(_lines(body, boundary, exact=False)))


def _lines(body: bytes, boundary: bytes, *, exact: bool) -> Iterator[tuple[int, int, bool]]:
    mark = b"--" + boundary
    at = body.find(mark)
    while at >= 0:
        if at == 0 or body[at - 1 : at] in (b"\n", b"\r"):
            end = body.find(b"\n", at)
            end = len(body) if end < 0 else end + 1
            rest = body[at + len(mark) : end].rstrip()
            if not exact or rest in (b"", b"--"):
                start = max(0, at - 2) if body[at - 2 : at] == b"\r\n" else at
                yield start, end, rest.startswith(b"--")
        at = body.find(mark, at + len(mark))


def _with_crlf(octets: bytes) -> bytes:
    """A message that was carried inside an encoding may have line ends of its own."""
    return octets if b"\r\n" in octets[:HEADER_LIMIT] else octets.replace(b"\n", b"\r\n")
