"""What people see of HTML: the text without its markup, as browsers read it (HTML Living Standard, 13.2.5)."""

from __future__ import annotations

import html
import re

_BREAKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "br", "center", "dd", "div", "dl", "dt", "fieldset", "footer",
    "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html", "iframe", "li", "main", "nav",
    "noembed", "noframes", "ol", "option", "p", "plaintext", "pre", "section", "table", "tbody", "td", "textarea",
    "tfoot", "th", "thead", "title", "tr", "ul", "xmp",
))  # fmt: skip
"""Elements that end a word; all others (b, span, a ...) may stand within one."""

_SILENT = ("script", "style")
_RAW = {
    name: re.compile(rf"(?ai)</{name}(?=[\t\n\f\r />])")
    for name in (*_SILENT, "iframe", "noembed", "noframes", "textarea", "title", "xmp")
}
"""Elements whose content is no markup, and what ends them."""

_MARK = re.compile(r"<(?:(?P<comment>!--)|(?P<odd>[!?]|/[^A-Za-z])|(?P<name>/?[A-Za-z][^\t\n\f\r />]*+))")
_COMMENT_END = re.compile(r"--!?>")
_TAG_END = re.compile(
    r"""
    (?: [\t\n\f\r /]++
      | [^\t\n\f\r />][^\t\n\f\r />=]*+
        (?: [\t\n\f\r ]*+=[\t\n\f\r ]*+
            (?: "[^"]*+" | '[^']*+' | [^\t\n\f\r >"'][^\t\n\f\r >]*+ | (?=>) )
        )?+
    )*+>
    """,
    re.VERBOSE,
)
"""Attributes and the end of a tag. A quotation mark is one only where a value begins."""

_FOREIGN = re.compile(r"(?ai)<(?:svg|math)[\t\n\f\r />]")


def shown(text: str) -> tuple[str, ...]:
    """The readings of HTML; more than one where it depends on the program whether style sheets hold markup."""
    if _FOREIGN.search(text) is not None:
        return tuple(dict.fromkeys((without_markup(text), without_markup(text, raw=False))))
    return (without_markup(text),)


def without_markup(text: str, *, raw: bool = True) -> str:
    """What is left without tags, comments, scripts and styles, references resolved. Linear.

    Without `raw` scripts and styles are elements like others, as they are within pictures (SVG) for some programs. Of
    what never ends more is kept than browsers show.
    """
    found: list[str] = []
    at, size = 0, len(text)
    while at < size:
        mark = _MARK.search(text, at)
        if mark is None:
            break
        found.append(text[at : mark.start()])
        at = mark.start()
        end = _end(text, mark)
        if end < 0:
            if mark["comment"]:
                at = size
            break
        at = end
        name = (mark["name"] or "").lower()
        if name.lstrip("/") in _BREAKS:
            found.append("\n")
        if name == "plaintext":
            break
        if raw and name in _RAW:
            closed = _RAW[name].search(text, at)
            end = closed.start() if closed is not None else size
            if name not in _SILENT:
                found.append(text[at:end])
            at = end
    found.append(text[at:])
    return html.unescape("".join(found))


def _end(text: str, mark: re.Match[str]) -> int:
    """Where a tag or comment ends; -1 if it does not."""
    if mark["comment"]:
        if text.startswith((">", "->"), mark.end()):
            return text.index(">", mark.end()) + 1
        closed = _COMMENT_END.search(text, mark.end())
        return closed.end() if closed is not None else -1
    if mark["odd"]:
        return text.find(">", mark.start() + 2) + 1 or -1
    tag = _TAG_END.match(text, mark.end())
    return tag.end() if tag is not None else -1
