"""Groups, forwarding and restrictions as people hand them over (specification 1.6), and what cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lockgate.flow import recipient_filters
from lockgate.flow.cells import Reasons, address_in, addresses_in, truth_in
from lockgate.mail.address import Address
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import Forwarding, RecipientKind, Restriction

COLUMNS = (
    "members", "managed_by", "members_only", "require_sender_authentication_enabled", "accept_messages_only_from",
    "reject_messages_from", "forwarding_smtp_address", "deliver_to_mailbox_and_forward", "forwarding_by_user",
    recipient_filters.COLUMN,
)  # fmt: skip
"""The columns, by Exchange's names; lists are separated by blanks or semicolons."""

LISTS = frozenset({"members", "managed_by", "accept_messages_only_from", "reject_messages_from"})
TRUTHS = frozenset({
    "members_only", "require_sender_authentication_enabled", "deliver_to_mailbox_and_forward", "forwarding_by_user",
})  # fmt: skip

ALSO = {
    "forwardingaddress": "forwarding_smtp_address",
    "requiresenderauthentication": "require_sender_authentication_enabled",
    "acceptmessagesonlyfromsendersormembers": "accept_messages_only_from",
    "rejectmessagesfromsendersormembers": "reject_messages_from",
}
"""Other names by which some of them are known, folded as `recipients.name_of` folds them."""

MOST_MEMBERS = 100_000
"""Direct members of one group (specification 1.22)."""
MOST_LISTED = 500
"""Addresses of one restriction, which are part of the facts of every message, and managers of one group."""

_SENDS_ON = frozenset({RecipientKind.MAILBOX, RecipientKind.MAIL_USER})
_HOW = ("deliver_to_mailbox_and_forward", "forwarding_by_user")


class Memberships(NamedTuple):
    """The values of these columns."""

    members: tuple[Address, ...] = ()
    managed_by: tuple[Address, ...] = ()
    forwarding: Forwarding | None = None
    restriction: Restriction | None = None
    recipient_filter: Mapping[str, str] = {}


NONE = Memberships()


def memberships_of(values: Mapping[str, Any], wrong: Reasons) -> Memberships:
    """What these columns say (names as in COLUMNS, empty values left out); what is no address is added to `wrong`."""
    members = addresses_in(values.get("members", ""), "members", MOST_MEMBERS, wrong)
    managers = addresses_in(values.get("managed_by", ""), "managed_by", MOST_LISTED, wrong)
    conditions = recipient_filters.filter_in(values.get(recipient_filters.COLUMN, ""), wrong)
    if conditions and members:
        wrong.append(("members", "its members are found by recipient_filter; leave one of the two out"))
    return Memberships(members, managers, _forwarding(values, wrong), _restriction(values, wrong), conditions)


def _forwarding(values: Mapping[str, Any], wrong: Reasons) -> Forwarding | None:
    text = values.get("forwarding_smtp_address")
    if not text:
        return None  # Exchange's exports say "False" for the others even where nothing is forwarded
    to = address_in(text, "forwarding_smtp_address", wrong)
    keeps, by_user = (truth_in(values[name], name, wrong) if name in values else None for name in _HOW)
    return None if to is None else Forwarding(to, keeps is not False, by_user is True)


def _restriction(values: Mapping[str, Any], wrong: Reasons) -> Restriction | None:
    proven, only = (
        truth_in(values[name], name, wrong) if name in values else False
        for name in ("require_sender_authentication_enabled", "members_only")
    )
    accept, reject = (
        tuple(address.key for address in addresses_in(values.get(name, ""), name, MOST_LISTED, wrong))
        for name in ("accept_messages_only_from", "reject_messages_from")
    )
    found = Restriction(proven, only, accept, reject)
    return found if found != Restriction() else None


def objections(row: RecipientRow) -> Reasons:
    """What a recipient has that one of its kind cannot have."""
    wrong: Reasons = []
    kind = f"this is a {row.kind.value.replace('_', ' ')}"
    group = row.kind is RecipientKind.GROUP
    restriction, forwarding = row.restriction, row.forwarding
    if not group:
        only = restriction is not None and restriction.members_only
        held = {
            "members": bool(row.members), "managed_by": bool(row.managed_by), "members_only": only,
            recipient_filters.COLUMN: bool(row.recipient_filter),
        }  # fmt: skip
        wrong += [(name, f"only a distribution group can have it; {kind}") for name, value in held.items() if value]
    if restriction is not None and row.kind is RecipientKind.MAIL_CONTACT:
        name = "accept_messages_only_from"
        wrong.append((name, f"who may send is restricted for groups, mailboxes and mail users; {kind}"))
    if forwarding is not None and row.kind not in _SENDS_ON:
        instead = "make the address a member instead" if group else "give it an external_address instead"
        wrong.append(("forwarding_smtp_address", f"only mailboxes and mail users forward; {kind}; {instead}"))
    elif forwarding is not None and forwarding.to.key in row.keys:
        wrong.append(("forwarding_smtp_address", f"it would forward to itself ({forwarding.to})"))
    if row.members:
        own = next((one for one in row.members if one.key in row.keys), None)
        if own is not None:
            wrong.append(("members", f"a group cannot be a member of itself ({own})"))
        if len(row.members) > MOST_MEMBERS:
            wrong.append(("members", f"there are {len(row.members)}; at most {MOST_MEMBERS} are kept"))
    return wrong


def in_cells(told: Mapping[str, Any]) -> dict[str, str]:
    """A recipient as it was told (RecipientRow.told), with lists and truth values as they stand in cells.

    Members that are found by a filter are left out.
    """
    flat = {**told["attributes"], **{name: value for name, value in told.items() if name != "attributes"}}
    beyond = {"member_count", "members"} if recipient_filters.COLUMN in flat else {"member_count"}
    return {name: _cell(value) for name, value in flat.items() if name not in beyond}


def _cell(value: Any) -> str:
    match value:
        case list():
            return " ".join(value)
        case dict():
            return recipient_filters.as_text(value)
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
