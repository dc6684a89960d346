"""A recipient object as a source gives it and as people see it (specification 1.6, 1.15.2)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from lockgate.mail.address import Address
from lockgate.mail.findings import Forwarding, RecipientKind, Restriction

ATTRIBUTES = (
    "city", "company", "country", *(f"custom_attribute{n}" for n in range(1, 16)), "department", "display_name",
    "email", "fax_number", "first_name", "home_phone_number", "initials", "last_name", "manager", "mobile_number",
    "notes", "office", "other_fax_number", "other_home_phone_number", "other_phone_number", "pager_number",
    "phone_number", "po_box", "state", "street", "title", "user_logon_name", "zip_code",
)  # fmt: skip
"""The directory attributes of specification 1.15.2, lower_snake_case."""


class RecipientRow(msgspec.Struct, frozen=True):
    """One recipient object as a source gives it.

    `proxies` are its further addresses; `attributes` those of specification 1.15.2, lower_snake_case. A distribution
    group has `members` (any addresses of recipients, or addresses elsewhere) and people who manage it; a mailbox or
    mail user may have a `forwarding`; all but contacts may have a `restriction`. The members of a group with a
    `recipient_filter` (attribute or "kind" to value) are those recipients who have all these values.
    """

    organisation: str
    kind: RecipientKind
    primary: Address
    external: Address | None = None
    proxies: tuple[Address, ...] = ()
    attributes: dict[str, str] = {}
    members: tuple[Address, ...] = ()
    managed_by: tuple[Address, ...] = ()
    forwarding: Forwarding | None = None
    restriction: Restriction | None = None
    recipient_filter: dict[str, str] = {}

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

    def names(self, keys: Collection[str]) -> bool:
        """Whether this recipient's members, managers, forwarding or restriction name one of these `Address.key`s."""
        listed = any(address.key in keys for address in (*self.members, *self.managed_by))
        return listed or are_named(keys, self.forwarding, self.restriction)

    def told(self, most: int | None = None) -> dict[str, Any]:
        """The recipient as every face shows it, JSON-ready; with the first `most` members only.

        What it does not have is left out, but for what everybody has had from the beginning.
        """
        told: dict[str, Any] = {
            "address": self.primary.text,
            "kind": self.kind.value,
            "aliases": [address.text for address in self.proxies],
            "external_address": self.external.text if self.external is not None else "",
        }
        if self.kind is RecipientKind.GROUP:
            told["members"] = [address.text for address in self.members[:most]]
            told["member_count"] = len(self.members)
        if self.recipient_filter:
            told["recipient_filter"] = dict(self.recipient_filter)
        if self.managed_by:
            told["managed_by"] = [address.text for address in self.managed_by]
        told |= sending_on(self.forwarding)
        told |= senders(self.restriction)
        told["attributes"] = dict(self.attributes)
        return told


def are_named(keys: Collection[str], forwarding: Forwarding | None, restriction: Restriction | None) -> bool:
    """Whether the forwarding or the restriction names one of these addresses (`Address.key` forms)."""
    if forwarding is not None and forwarding.to.key in keys:
        return True
    return restriction is not None and any(
        key in keys for key in (*restriction.accept_from, *restriction.reject_from)
    )


def sending_on(forwarding: Forwarding | None) -> dict[str, Any]:
    """The forwarding by Exchange's names, JSON-ready; empty for none."""
    if forwarding is None:
        return {}
    return {
        "forwarding_smtp_address": forwarding.to.text,
        "deliver_to_mailbox_and_forward": forwarding.keeps_copy,
        **({"forwarding_by_user": True} if forwarding.by_user else {}),
    }


def senders(restriction: Restriction | None) -> dict[str, Any]:
    """The restriction by Exchange's names, JSON-ready; without what it does not restrict."""
    if restriction is None:
        return {}
    told: dict[str, Any] = {
        "require_sender_authentication_enabled": restriction.authenticated_only,
        "members_only": restriction.members_only,
        "accept_messages_only_from": list(restriction.accept_from),
        "reject_messages_from": list(restriction.reject_from),
    }
    return {name: value for name, value in told.items() if value}
