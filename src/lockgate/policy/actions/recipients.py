"""Further recipients: actions that redirect a copy, or send one to somebody else as well (specification 1.15.9).

Whoever is added gets what the recipient gets whose copy matched, each once; no rule is looked at for them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from pydantic import AfterValidator, Field, RootModel

from lockgate.mail.address import Address, parse_address
from lockgate.mail.header_edits import Change as What
from lockgate.mail.header_edits import HeaderEdit
from lockgate.mail.ruling import Added, Effects
from lockgate.policy.kinds import action
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Change
from lockgate.policy.spelling import MailboxText

MOST_ADDED = 100
"""Recipients that all rules together add to one message; further ones are left out (specification 1.15.11)."""


def _ascii(text: str) -> str:
    if not text.isascii():
        raise ValueError(f"{text} would be written into the header, which takes ASCII addresses only; copy it by Bcc")
    return text


Shown = Annotated[MailboxText, AfterValidator(_ascii)]
"""An address that stands in the header."""


@action("redirect_message_to", "The copy goes to these instead; no later rule is looked at")
class RedirectMessageTo(RootModel[tuple[MailboxText, ...]], frozen=True):
    """Specification 1.15.9. A message that rules have redirected before is refused (1.15.11)."""

    root: tuple[MailboxText, ...] = Field(
        min_length=1, max_length=10, description="At most 10 addresses.", examples=[["archive@contoso.com"]]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Somebody else gets it."""
        added = tuple(Added(_parsed(text), rule.name, redirect=True) for text in self.root)
        return adding(added, ())


@action("add_to_recipients", "These get a copy as well, and stand in To")
class AddToRecipients(RootModel[tuple[Shown, ...]], frozen=True):
    """Specification 1.15.9."""

    root: tuple[Shown, ...] = Field(
        min_length=1, max_length=100, description="Addresses of those who get it.", examples=[["ben@contoso.com"]]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Beside the recipient, and seen by all."""
        return _shown("To", self.root, rule)


@action("copy_to", "These get a copy as well, and stand in Cc")
class CopyTo(RootModel[tuple[Shown, ...]], frozen=True):
    """Specification 1.15.9."""

    root: tuple[Shown, ...] = Field(
        min_length=1, max_length=100, description="Addresses of those who get it.", examples=[["ben@contoso.com"]]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Beside the recipient, and seen by all."""
        return _shown("Cc", self.root, rule)


@action("blind_copy_to", "These get a copy as well, and nobody sees it")
class BlindCopyTo(RootModel[tuple[MailboxText, ...]], frozen=True):
    """Specification 1.15.9."""

    root: tuple[MailboxText, ...] = Field(
        min_length=1, max_length=100, description="Addresses of those who get it.", examples=[["archive@contoso.com"]]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Beside the recipient, unseen."""
        return adding(tuple(Added(_parsed(text), rule.name) for text in self.root), ())


def _shown(field: str, texts: tuple[str, ...], rule: MailFlowRule) -> Change:
    edits = tuple(HeaderEdit(What.JOIN, field, text) for text in texts)
    return adding(tuple(Added(_parsed(text), rule.name) for text in texts), edits)


def _parsed(text: str) -> Address:
    return parse_address(text, utf8=True)


def adding(added: tuple[Added, ...], edits: tuple[HeaderEdit, ...]) -> Change:
    """These are added, as far as they are not yet and there is room; `edits` are what the header shows of them."""

    def change(effects: Effects) -> Effects:
        known = {one.address.key for one in effects.added}
        fresh = tuple(one for one in added if one.address.key not in known)[: MOST_ADDED - len(effects.added)]
        more = tuple(edit for edit in edits if edit not in effects.edits)
        if not fresh and not more:
            return effects
        return msgspec.structs.replace(effects, added=effects.added + fresh, edits=effects.edits + more)

    return change
