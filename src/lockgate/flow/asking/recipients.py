"""What can be asked about recipients."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class RecipientImport(Ask, frozen=True, tag="recipient_import"):
    """Put the recipients of this text in the place of what the organisation has; `form` is "csv" or "toml".

    For texts that fit into one request; longer ones are sent as RecipientUpload, RecipientPiece, RecipientLoad.
    """

    text: str
    form: str
    name: str
    organisation: str = ""
    what_if: bool = False
    force: bool = False
    all_or_nothing: bool = False
    keep_missing: bool = False


class RecipientUpload(Ask, frozen=True, tag="recipient_upload"):
    """A file of recipients will come in pieces; answered with a ticket. Fields as in RecipientImport."""

    form: str
    name: str
    organisation: str = ""
    what_if: bool = False
    force: bool = False
    all_or_nothing: bool = False
    keep_missing: bool = False


class RecipientPiece(Ask, frozen=True, tag="recipient_piece"):
    """The next piece of the file."""

    ticket: str
    text: str


class RecipientLoad(Ask, frozen=True, tag="recipient_load"):
    """The file is whole: read it."""

    ticket: str


class RecipientProgress(Ask, frozen=True, tag="recipient_progress"):
    """How far it is, with the rejected lines from place `after` on; the last answer has the result."""

    ticket: str
    after: int = 0


class RecipientFind(Ask, frozen=True, tag="recipient_find"):
    """Who has this address?"""

    address: str
    organisation: str = ""


class RecipientShow(Ask, frozen=True, tag="recipient_show"):
    """Everything about the recipient with this address."""

    address: str
    organisation: str = ""


class RecipientAdd(Ask, frozen=True, tag="recipient_add"):
    """A new recipient; `values` by the names of CSV columns, "aliases" blank-separated."""

    address: str
    values: dict[str, str]
    organisation: str = ""
    what_if: bool = False


class RecipientSet(Ask, frozen=True, tag="recipient_set"):
    """Change some values of a recipient; an empty value takes the attribute away."""

    address: str
    values: dict[str, str]
    organisation: str = ""
    what_if: bool = False


class RecipientRemove(Ask, frozen=True, tag="recipient_remove"):
    """Remove a recipient, named by its primary address; the last one of an organisation only with `force`."""

    address: str
    organisation: str = ""
    what_if: bool = False
    force: bool = False


class RecipientExport(Ask, frozen=True, tag="recipient_export"):
    """All recipients of an organisation, page by page: the first answer has a ticket to ask on with."""

    organisation: str = ""
    ticket: str = ""


class RecipientEstimate(Ask, frozen=True, tag="recipient_estimate"):
    """Who would have been refused for this accepted domain in the last `days`, were edge blocking enforced."""

    domain: str
    days: int = 7
    limit: int = 1000
