"""Who a copy of the message is for, and where that recipient came from."""

from __future__ import annotations

import msgspec

from lockgate.mail.address import Address


class RecipientId(msgspec.Struct, frozen=True):
    """The key of every ruling, task and trace row: one recipient with its derivation.

    `original` is the address of this recipient: as given in RCPT TO, or, if derived (group member, forwarding
    target, redirect by a rule), the address derived; `derived_from` is then the recipient it came from.
    `orcpt` and `notify` are the DSN parameters of RFC 3461 4.1-4.2 (`notify` upper case; empty = not given).
    """

    original: Address
    derived_from: RecipientId | None = None
    orcpt: str = ""
    notify: tuple[str, ...] = ()

    @property
    def root(self) -> RecipientId:
        """The recipient of the envelope from which this one is derived (itself, if it is not derived)."""
        here = self
        while here.derived_from is not None:
            here = here.derived_from
        return here
