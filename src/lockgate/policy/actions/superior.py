"""The sender's manager: an action that adds whoever the directory names, or redirects (specification 1.15.9)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, RootModel

from lockgate.mail.address import Address, AddressError, parse_address
from lockgate.mail.header_edits import Change as What
from lockgate.mail.header_edits import HeaderEdit
from lockgate.mail.ruling import Added, Effects
from lockgate.policy.actions.recipients import adding
from lockgate.policy.conditions.person import sender_attributes
from lockgate.policy.kinds import action
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Case, Change, Find, Seen, unknown

_FIELDS = {"to": "To", "cc": "Cc"}


@action("add_manager_as_recipient_type", "The sender's manager gets a copy as well, or instead")
class AddManagerAsRecipientType(RootModel[Literal["to", "cc", "bcc", "redirect"]], frozen=True):
    """Specification 1.15.9: AddManagerAsRecipientType. Without a manager nothing happens."""

    root: Literal["to", "cc", "bcc", "redirect"] = Field(
        description="to, cc: the manager gets it as well and stands there; bcc: nobody sees it; redirect: instead. The "
        "manager is the attribute `manager` of the sender in the directory, an address.",
        examples=["cc"],
    )

    def compile_for(self, context: Context, rule: MailFlowRule) -> Find:
        """Whom the directory names."""
        name, how, location = rule.name, self.root, rule.sender_address_location

        def find(case: Case) -> Change | Seen:
            if case.facts.message is None:
                return unknown("there is no message yet")
            found = sender_attributes(context, case, location)
            if isinstance(found, Seen):
                return found
            manager = _address(found[1].get("manager", ""))
            if manager is None:
                return _nothing
            field = _FIELDS.get(how) if manager.text.isascii() else None  # the header takes ASCII addresses only
            edits = (HeaderEdit(What.JOIN, field, manager.text),) if field else ()
            return adding((Added(manager, name, redirect=how == "redirect"),), edits)

        return find


def _address(text: str) -> Address | None:
    try:
        return parse_address(text.strip(), utf8=True)
    except AddressError:
        return None


def _nothing(effects: Effects) -> Effects:
    return effects
