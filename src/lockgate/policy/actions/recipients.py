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
from lockgate.mail.ruling import MOST_ADDED, Added, Effects
from lockgate.policy.kinds import action
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Change
from lockgate.policy.spelling import MailboxText


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
    """These are added, as far as they are not yet and there is room; `edits` are what the header shows of them, one for
    each or none.

    Who was to get it as well and now gets it instead does get it instead: a redirect is never left out, because then
    the copy would stay with those who are to have nothing (specification 1.15.9).
    """

    def change(effects: Effects) -> Effects:
        found = {one.address.key: one for one in effects.added}
        room = MOST_ADDED - sum(not one.redirect for one in effects.added)
        for one in added:
            there = found.get(one.address.key)
            if one.redirect:
                found[one.address.key] = there if there is not None and there.redirect else one
            elif there is None and room > 0:
                found[one.address.key] = one
                room -= 1
        shown = [edit for edit, one in zip(edits, added, strict=False) if one.address.key in found]
        more = tuple(edit for edit in shown if edit not in effects.edits)
        after = tuple(found.values())
        if after == effects.added and not more:
            return effects
        return msgspec.structs.replace(effects, added=after, edits=effects.edits + more)

    return change
