"""The text that people see of a message: its text parts in every reading, HTML without its markup."""

from __future__ import annotations

import html

from lockgate.mail.mime.encodings import as_text
from lockgate.mail.mime.walk import Leaf, Walked

LOOKED_AT = 1024 * 1024
"""Characters of all texts of a message together; what stands behind them is not looked at."""

_BREAKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "br", "center", "dd", "div", "dl", "dt", "fieldset", "footer",
    "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html", "li", "main", "nav", "ol", "option",
    "p", "pre", "section", "table", "tbody", "td", "tfoot", "th", "thead", "title", "tr", "ul",
))  # fmt: skip
"""Elements that end a word; all others (b, span, a ...) may stand within one."""

_SILENT = ("script", "style")


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


def _texts(leaf: Leaf) -> list[str]:
    kind = leaf.part.kind
    if not kind.startswith("text/") and kind not in ("application/xhtml+xml", "message/delivery-status"):
        return []
    found = [as_text(octets, leaf.part.charset) for octets in leaf.readings()]
    if kind in ("text/html", "application/xhtml+xml"):
        return [without_markup(text) for text in found]
    return found


def without_markup(text: str) -> str:
    """What is left of HTML without tags, comments, scripts and styles, references resolved. Linear."""
    found: list[str] = []
    lower = text.lower()
    if len(lower) != len(text):  # some letters change their length; places must agree
        lower = text
    at, size = 0, len(text)
    while at < size:
        start = text.find("<", at)
        if start < 0:
            found.append(text[at:])
            break
        found.append(text[at:start])
        if text.startswith("<!--", start):
            end = text.find("-->", start + 4)
            at = size if end < 0 else end + 3
            continue
        end = text.find(">", start + 1)
        if end < 0:
            found.append(text[start:])
            break
        name = _name(lower[start + 1 : min(end, start + 40)])
        at = end + 1
        if name in _SILENT:
            closed = lower.find(f"</{name}", at)
            at = size if closed < 0 else closed
        elif name.lstrip("/") in _BREAKS:
            found.append("\n")
        elif not name:
            found.append(text[start:at])
    return html.unescape("".join(found))


def _name(tag: str) -> str:
    """The name of a tag with its slash; "" if it is none."""
    slash = "/" if tag.startswith("/") else ""
    plain = tag.removeprefix("/")
    end = 0
    while end < len(plain) and (plain[end].isalnum() or plain[end] in "!?:-"):
        end += 1
    return slash + plain[:end] if end else ""
