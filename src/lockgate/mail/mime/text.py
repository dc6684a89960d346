"""The text that people see of a message: its text parts in every reading, HTML without its markup."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lockgate.mail.mime.encodings import as_text
from lockgate.mail.mime.markup import shown
from lockgate.mail.mime.walk import Leaf, Walked

LOOKED_AT = 1024 * 1024
"""Characters of all texts of a message together; what stands behind them is not looked at."""

_HTML = frozenset(("text/html", "application/xhtml+xml"))
_VALID = re.compile(r"[^/\s]+/[^/\s]+")


def texts_of(walked: Walked) -> tuple[tuple[str, ...], bool]:
    """The texts, different ones once, and whether something was left out for its length."""
    found: dict[str, None] = {}
    left = LOOKED_AT
    for leaf in walked.leaves:
        for text in _texts(leaf):
            if text in found or not text:
                continue
            if left <= 0:
                return tuple(found), True
            found[text[:left]] = None
            left -= len(text)
    return tuple(found), left < 0 or walked.cut


def _texts(leaf: Leaf) -> Iterator[str]:
    """The text in every reading of its type and character set; none if no program shows it as text."""
    marked = any(kind in _HTML for kind in leaf.kinds)
    plain = any(_is_plain(kind) for kind in leaf.kinds)
    if not marked and not plain:
        return
    for octets in leaf.readings():
        for text in {as_text(octets, charset): None for charset in leaf.charsets or ("",)}:
            if plain:
                yield text
            if marked:
                yield from shown(text)


def _is_plain(kind: str) -> bool:
    """Whether some program shows it as it is: what is no type is plain text (RFC 2045 5.2), and so are parts that
    could not be taken apart.
    """
    if kind.startswith(("text/", "multipart/")):
        return kind not in _HTML
    return kind == "message/delivery-status" or not _VALID.fullmatch(kind)
