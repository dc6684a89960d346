"""Who a copy of the message is for, and where that recipient came from."""

from __future__ import annotations

import enum

import msgspec

from lockgate.mail.address import Address


class Relation(enum.StrEnum):
    """How one recipient comes from another."""

    NONE = ""
    MEMBER = "member of"
    FORWARDING = "forwarded by"
    REDIRECTED = "redirected by a rule from"
    ADDED = "added by a rule beside"


class RecipientId(msgspec.Struct, frozen=True):
    """The key of every ruling, task and trace row: one recipient with its derivation.

    `original` is the address of this recipient: as given in RCPT TO, or, if derived (group member, forwarding
    target, redirect or copy by a rule), the address derived; `derived_from` is then the recipient it came from.
    `relation` says how it comes from there.
    `orcpt` and `notify` are the DSN parameters of RFC 3461 4.1-4.2 (`notify` upper case; empty = not given).
    """

    original: Address
    derived_from: RecipientId | None = None
    orcpt: str = ""
    notify: tuple[str, ...] = ()
    relation: Relation = Relation.NONE

    @property
    def derivation(self) -> str:
        """From whom it is derived: "member of sales@contoso.com"; "" for those that the sender named."""
        if self.derived_from is None:
            return ""
        return f"{self.relation.value or 'by way of'} {self.derived_from.original}"

    @property
    def text(self) -> str:
        """The recipient as people read it, with the one from whom it is derived."""
        how = self.derivation
        return f"{self.original}, {how}" if how else self.original.text

    @property
    def root(self) -> RecipientId:
        """The recipient of the envelope from which this one is derived (itself, if it is not derived)."""
        here = self
        while here.derived_from is not None:
            here = here.derived_from
        return here
