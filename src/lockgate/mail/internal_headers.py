"""Header fields by which servers of one organisation tell each other what they found (specification 1.1.2).

Whoever is believed to be one of them is believed what they say; so everybody else must not get one through, however it
is spelled. In doubt a field is one of these: what a reader might take for one is one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

ORGANISATION = "X-MS-Exchange-Organization-"
CROSS_PREMISES = "X-MS-Exchange-CrossPremises-"
CROSS_TENANT = "X-MS-Exchange-CrossTenant-"
TRUE_SOURCE = "X-MS-Exchange-ExternalOriginalInternetSender"
TRUE_SOURCE_COMPUTED = "X-MS-Exchange-SkipListedInternetSender"

NETWORK_ID, AUTH_AS, AUTH_SOURCE = "Network-Message-Id", "AuthAs", "AuthSource"
DIRECTION, SCL, CLASSIFICATION = "MessageDirectionality", "SCL", "Classification"
"""Names behind the prefix of a family."""

MARKS = (ORGANISATION + SCL, ORGANISATION + CLASSIFICATION)
"""What mail flow rules say of a message: for mailboxes and for own servers, also those that are told nothing else."""

Fields = Sequence[tuple[str, str]]
"""Unfolded header fields as (name, value)."""

_KEPT = b"abcdefghijklmnopqrstuvwxyz0123456789"
_SQUEEZE = bytes(range(256)).lower()
_DROPPED = bytes(byte for byte in range(256) if bytes((byte,)).lower() not in {bytes((one,)) for one in _KEPT})
_STEM = b"xmsexchange"
_STARTS = tuple(
    name.replace("-", "").lower() for name in (ORGANISATION, CROSS_PREMISES, CROSS_TENANT, TRUE_SOURCE,
                                               TRUE_SOURCE_COMPUTED)
)  # fmt: skip
_PLAIN_NAME = re.compile(re.escape(CROSS_PREMISES) + r"[A-Za-z0-9][A-Za-z0-9-]{0,99}", re.I)
_FOLDS = (b" ", b"\t")
_OUR_MARK = b"xlockgatehop"


def letters_of(header: bytes) -> bytes:
    """The ASCII letters (lower case) and digits of a header block, for quick looks: whatever stands between them."""
    return header.translate(_SQUEEZE, _DROPPED)


def may_hold_any(header: bytes, letters: bytes | None = None) -> bool:
    """Whether a header block may hold such fields: a quick look, which may say yes where there are none. Linear.

    `letters` is what `letters_of` says of it, if that is known already.
    """
    if _STEM in (letters_of(header) if letters is None else letters):
        return True
    return not header.isascii() and _STEM.decode() in _squeezed(header)


def is_internal(name: bytes) -> bool:
    """Whether what stands before the colon is, or could be taken for, the name of an internal field."""
    plain = name.translate(_SQUEEZE, _DROPPED).decode("ascii") if name.isascii() else _squeezed(name)
    return plain.startswith(_STARTS)


def _squeezed(octets: bytes) -> str:
    """Letters and digits alone, as a reader might fold them: full-width letters, other hyphens, marks."""
    text = unicodedata.normalize("NFKD", octets.decode("utf-8", "replace")).casefold()
    return "".join(c for c in text if c.isascii() and c.isalnum())


# --- as values, for judging -------------------------------------------------------------------------------------------


def promoted(fields: Fields) -> dict[str, tuple[str, str]]:
    """What the other side says: by the rest of the name (lower case) the name after promotion, and the value.

    Only clean names count; a field that is there more than once with different values says nothing.
    """
    found: dict[str, tuple[str, str]] = {}
    doubtful: set[str] = set()
    for name, value in fields:
        if not _PLAIN_NAME.fullmatch(name):
            continue
        rest = name[len(CROSS_PREMISES) :]
        key = rest.lower()
        if found.setdefault(key, (ORGANISATION + rest, value))[1] != value:
            doubtful.add(key)
    for key in doubtful:
        del found[key]
    return found


def seen_by_rules(fields: Fields, *, promote: bool) -> tuple[tuple[str, str], ...]:
    """The header as it is behind our border: internal fields of strangers are gone, those of own servers promoted."""
    rest = tuple([(name, value) for name, value in fields if not is_internal(name.encode())])
    return (*promoted(fields).values(), *rest) if promote else rest


# --- on octets, for copies --------------------------------------------------------------------------------------------


def without_internal(content: bytes, keep: Sequence[str] = ()) -> bytes:
    """The message without internal fields but those of these very names, each with its folded lines; no other octet
    changes. Linear.
    """
    kept = {name.lower().encode() for name in keep}
    return _filtered(content, lambda name: is_internal(name) and name.lower() not in kept)


def level_of(values: Sequence[str]) -> int | None:
    """The spam confidence level that fields of that name tell: -1 to 9; None if there is not exactly one."""
    if len(values) != 1:
        return None
    text = values[0].strip()
    return int(text) if text == "-1" or (len(text) == 1 and text.isascii() and text.isdigit()) else None


def with_promoted(content: bytes) -> bytes:
    """The message with what the other side says as our own internal fields, on top, in place of all that were there."""
    fields: list[tuple[str, str]] = []
    raw: dict[str, bytes] = {}

    def take(name: bytes, value: bytes) -> None:
        if name.isascii() and _PLAIN_NAME.fullmatch(text := name.decode()):
            fields.append((text, " ".join(value.decode("utf-8", "replace").split())))
            raw.setdefault(text[len(CROSS_PREMISES) :].lower(), value)

    rest = _filtered(content, lambda name: is_internal(name), take)
    kept = promoted(fields)
    return b"".join([name.encode() + b":" + raw[key] + b"\r\n" for key, (name, _) in kept.items()]) + rest


def with_fields(content: bytes, fields: Iterable[tuple[str, str]]) -> bytes:
    """The message with these fields on top, in place of those of the same names. Values are ASCII on one line."""
    ours = [(name, f"{name}: {value}\r\n".encode("ascii", "replace")) for name, value in fields]
    names = {name.lower().encode() for name, _ in ours}
    if may_hold_any(content[: _end(content)]):
        content = _filtered(content, lambda name: name.strip(b" \t").lower() in names)
    return b"".join([line for _, line in ours]) + content


def with_preserved(content: bytes) -> bytes:
    """The message with a CrossPremises copy of each Organization field, in place of those that were there."""
    copies: list[bytes] = []
    prefix = ORGANISATION.lower().encode()

    def take(name: bytes, value: bytes) -> None:
        copies.append(CROSS_PREMISES.encode() + name[len(prefix) :] + b":" + value + b"\r\n")

    def goes(name: bytes) -> bool:
        return is_internal(name) and not name.lower().startswith(prefix)

    rest = _filtered(content, goes)
    _filtered(rest, lambda name: name.lower().startswith(prefix), take)
    return b"".join(copies) + rest


def _end(content: bytes) -> int:
    """Where the header ends, its last line end included."""
    if content.startswith(b"\r\n"):
        return 0
    empty = content.find(b"\r\n\r\n")
    return len(content) if empty < 0 else empty + 2


def _filtered(
    content: bytes, goes: Callable[[bytes], bool], take: Callable[[bytes, bytes], None] | None = None
) -> bytes:
    """The message without the fields whose name `goes`; `take` is given name and raw value of each of them."""
    end = _end(content)
    lines = content[:end].split(b"\r\n")
    kept: list[bytes] = []
    first = 0
    while first < len(lines):
        last = first + 1
        while last < len(lines) and lines[last].startswith(_FOLDS):
            last += 1
        group = lines[first:last]
        first = last
        whole = b"\r\n".join(group)
        name, _, value = whole.partition(b":")
        if not goes(name):
            kept += _unfolded_mark(group, goes)
        elif take is not None:
            take(name.strip(b" \t\r\n"), value)
    return b"\r\n".join(kept) + content[end:]


def _unfolded_mark(group: list[bytes], goes: Callable[[bytes], bool]) -> list[bytes]:
    """Our own pass mark is one line: what is folded behind it is the sender's first line, which began with a blank."""
    if len(group) == 1 or not group[0][:20].translate(_SQUEEZE, _DROPPED).startswith(_OUR_MARK):
        return group
    return [group[0], *[line for line in group[1:] if not goes(line.partition(b":")[0])]]
