"""What the header says: actions that change fields of the copies that match (specification 1.15.9)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from pydantic import AfterValidator, BaseModel, Field, RootModel

from lockgate.mail.header_edits import Change as What
from lockgate.mail.header_edits import HeaderEdit
from lockgate.mail.internal_headers import CLASSIFICATION, ORGANISATION, SCL
from lockgate.mail.ruling import Effects
from lockgate.policy.kinds import action
from lockgate.policy.rules import Change
from lockgate.policy.texts import FieldName

_KEPT = frozenset(
    (
        "authentication-results", "bcc", "bounces-to", "date", "dkim-signature", "from", "message-id", "mime-version",
        "received", "received-spf", "resent-from", "return-path", "sender",
    )
)  # fmt: skip
_KEPT_BEGINNINGS = ("arc-", "content-", "x-lockgate-")


_OTHERWISE = {
    (ORGANISATION + SCL).lower(): "set_scl",
    (ORGANISATION + CLASSIFICATION).lower(): "apply_classification",
}


def _free(text: str) -> str:
    lower = text.lower()
    if lower in _OTHERWISE:
        raise ValueError(f"{text} is written by the action {_OTHERWISE[lower]}")
    if lower in _KEPT or lower.startswith(_KEPT_BEGINNINGS):
        raise ValueError(f"{text} says who sent it, which way it came or how it is built; rules leave it alone")
    return text


def _value(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a header field is one line of printable text")
    return text


ChangedField = Annotated[FieldName, AfterValidator(_free)]
"""The name of a header field that rules may change."""

Line = Annotated[str, AfterValidator(_value)]
"""One line of text."""


@action("set_header", "A header field gets this value, in the place of all of that name")
class SetHeader(BaseModel, frozen=True, extra="forbid"):
    """Specification 1.15.9: SetHeaderName and SetHeaderValue."""

    name: ChangedField = Field(description="Name of the field.", examples=["X-Site"])
    value: Line = Field(max_length=900, description="Its value.", examples=["New Orleans"])

    def compile(self) -> Change:
        """Set it on the way out; later rules see it."""
        return editing(HeaderEdit(What.SET, self.name, self.value))


@action("remove_header", "All header fields of this name are taken out")
class RemoveHeader(RootModel[ChangedField], frozen=True):
    """Specification 1.15.9."""

    root: ChangedField = Field(description="Name of the field.", examples=["X-Internal-Ticket"])

    def compile(self) -> Change:
        """Take them out on the way out; later rules do not see them."""
        return editing(HeaderEdit(What.REMOVE, self.root))


@action("prepend_subject", "This text is written before the subject")
class PrependSubject(RootModel[Line], frozen=True):
    """Specification 1.15.9: as it is written, without a blank of its own and without a look at what is there."""

    root: Line = Field(min_length=1, max_length=200, description="Text, with its blank.", examples=["[EXTERNAL] "])

    def compile(self) -> Change:
        """Write it on the way out; later rules see it."""
        return editing(HeaderEdit(What.PREPEND, "Subject", self.root))


def editing(edit: HeaderEdit) -> Change:
    """As the last change, also where an earlier rule asked for the same: one between them may have undone it.

    A prefix is written as often as rules say so (specification 1.15.9: no duplicate check).
    """
    again = edit.change is What.PREPEND

    def change(effects: Effects) -> Effects:
        if not again and effects.edits[-1:] == (edit,):
            return effects
        return msgspec.structs.replace(effects, edits=(*effects.edits, edit))

    return change
