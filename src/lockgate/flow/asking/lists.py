"""What can be asked about the entries of named lists; the lists themselves are policy objects (`named_list`)."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class ListsList(Ask, frozen=True, tag="lists_list"):
    """Every named list with kind, number of entries, last change, and the rules that use it."""

    organisation: str = ""


class ListShow(Ask, frozen=True, tag="list_show"):
    """The same of one list."""

    name: str
    organisation: str = ""


class ListFind(Ask, frozen=True, tag="list_find"):
    """Is this on the list? Of a list of domains the domain itself, or the nearest above it."""

    name: str
    entry: str
    organisation: str = ""


class ListAdd(Ask, frozen=True, tag="list_add"):
    """Add entries."""

    name: str
    entries: tuple[str, ...]
    organisation: str = ""
    what_if: bool = False


class ListRemove(Ask, frozen=True, tag="list_remove"):
    """Remove entries, or with `everything` all of them."""

    name: str
    entries: tuple[str, ...] = ()
    organisation: str = ""
    everything: bool = False
    what_if: bool = False


class ListImport(Ask, frozen=True, tag="list_import"):
    """Add the entries of a text, one a line; with `replace` they take the place of all there are.

    `form` is "text" or "csv"; `file` is the name that stands in messages.
    """

    name: str
    text: str
    file: str
    form: str = "text"
    replace: bool = False
    organisation: str = ""
    what_if: bool = False


class ListExport(Ask, frozen=True, tag="list_export"):
    """All entries as they were written, page by page: the first answer has a ticket to ask on with."""

    name: str = ""
    organisation: str = ""
    ticket: str = ""
