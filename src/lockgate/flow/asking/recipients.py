"""What can be asked about recipients."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class RecipientImport(Ask, frozen=True, tag="recipient_import"):
    """Put these recipients in the place of all the organisation has; `form` is "csv" or "toml"."""

    text: str
    form: str
    name: str
    organisation: str = ""
    what_if: bool = False


class RecipientFind(Ask, frozen=True, tag="recipient_find"):
    """Who has this address?"""

    address: str
    organisation: str = ""
