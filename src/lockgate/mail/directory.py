"""A recipient object as a source gives it and as people see it (specification 1.6, 1.15.2)."""

from __future__ import annotations

from typing import Any

import msgspec

from lockgate.mail.address import Address
from lockgate.mail.findings import RecipientKind

ATTRIBUTES = (
    "city", "company", "country", *(f"custom_attribute{n}" for n in range(1, 16)), "department", "display_name",
    "email", "fax_number", "first_name", "home_phone_number", "initials", "last_name", "manager", "mobile_number",
    "notes", "office", "other_fax_number", "other_home_phone_number", "other_phone_number", "pager_number",
    "phone_number", "po_box", "state", "street", "title", "user_logon_name", "zip_code",
)  # fmt: skip
"""The directory attributes of specification 1.15.2, lower_snake_case."""


class RecipientRow(msgspec.Struct, frozen=True):
    """One recipient object as a source gives it.

    `proxies` are its further addresses; `attributes` those of specification 1.15.2, lower_snake_case.
    """

    organisation: str
    kind: RecipientKind
    primary: Address
    external: Address | None = None
    proxies: tuple[Address, ...] = ()
    attributes: dict[str, str] = {}

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Every address it answers to, the primary one first."""
        return (self.primary, *self.proxies)

    @property
    def keys(self) -> tuple[str, ...]:
        """The forms by which its addresses are looked up, each once, the primary one first."""
        if not self.proxies:
            return (self.primary.key,)
        return tuple(dict.fromkeys(address.key for address in self.addresses))

    def told(self) -> dict[str, Any]:
        """The recipient as every face shows it, JSON-ready."""
        return {
            "address": self.primary.text,
            "kind": self.kind.value,
            "aliases": [address.text for address in self.proxies],
            "external_address": self.external.text if self.external is not None else "",
            "attributes": dict(self.attributes),
        }
