"""XML as a small tree of texts: no document type, no entities, bounded in depth and size; broken parts are named."""

from __future__ import annotations

import xml.parsers.expat as expat
from collections.abc import Iterator

from lockgate.mail.reports.packed import BadReport

MOST_ELEMENTS = 2_000_000
DEEPEST = 20


class Element:
    """One element: its name without namespace, its text, its children."""

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.children: list[Element] = []

    def all(self, name: str) -> Iterator[Element]:
        """The children of this name."""
        return (child for child in self.children if child.name == name)

    def first(self, *path: str) -> Element | None:
        """The first descendant along these names."""
        here: Element | None = self
        for name in path:
            here = next(here.all(name), None) if here is not None else None
        return here

    def value(self, *path: str) -> str:
        """The text of that descendant, "" if there is none."""
        found = self.first(*path)
        return found.text.strip() if found is not None else ""


class _Builder:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def start(self, name: str, _: object) -> None:
        self._count += 1
        if self._count > MOST_ELEMENTS or len(self._open) >= DEEPEST:
            raise BadReport("it has more elements, or deeper ones, than a report has")
        element = Element(name.rpartition(" ")[2].lower())
        if self._open:
            self._open[-1].children.append(element)
        elif self.root is None:
            self.root = element
        self._open.append(element)

    def end(self, _: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        if self._open and len(self._open[-1].text) < 4096:
            self._open[-1].text += data


def read_xml(data: bytes) -> Element:
    """The root element. Raises BadReport."""
    parser = expat.ParserCreate(namespace_separator=" ")
    builder = _Builder()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = _no_doctype
    parser.buffer_text = True
    try:
        parser.Parse(data, True)  # noqa: FBT003  (it takes no keywords)
    except expat.ExpatError as trouble:
        raise BadReport(f"the XML is broken: {trouble}") from None
    except (ValueError, LookupError) as trouble:  # an encoding that does not exist
        if isinstance(trouble, BadReport):
            raise
        raise BadReport(f"the XML cannot be read: {trouble}") from None
    if builder.root is None:
        raise BadReport("there is nothing in it")
    return builder.root


def _no_doctype(*_: object) -> None:
    raise BadReport("it declares a document type, which a report has no use for")
