"""Which kind of message it is: an automatic reply, an encrypted one, an invitation (specification 1.15.7)."""

from __future__ import annotations

import enum
from collections.abc import Callable

from pydantic import Field, RootModel

from lockgate.mail.address import Address
from lockgate.mail.mime.parameters import first_word, parameters, values_of
from lockgate.policy.kinds import condition
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Case, RecipientTest, Seen, no, unknown, yes


class MessageType(enum.StrEnum):
    """The types of MessageTypeMatches."""

    OOF = "oof"
    AUTO_FORWARD = "auto_forward"
    ENCRYPTED = "encrypted"
    CALENDARING = "calendaring"
    PERMISSION_CONTROLLED = "permission_controlled"
    VOICEMAIL = "voicemail"
    SIGNED = "signed"
    APPROVAL_REQUEST = "approval_request"
    READ_RECEIPT = "read_receipt"


@condition("message_type_matches", "The message is of this type", per_recipient=False)
class MessageTypeMatches(RootModel[MessageType], frozen=True):
    """Specification 1.15.7. By the header alone; mail that a mailbox forwards is not auto_forward."""

    root: MessageType = Field(description=f"One of {', '.join(MessageType)}.", examples=["oof"])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """What the header says of it."""
        wanted, told = self.root, _TOLD[self.root]

        def test(case: Case, _: Address) -> Seen:
            if case.facts.message is None:
                return unknown("there is no message yet")

            def field(name: str) -> str:
                return " ".join(context.header(case, name))

            because = told(field)
            return yes(f"it is {wanted}: {because}") if because else no(f"nothing in its header says {wanted}")

        return test


_SMIME = ("application/pkcs7-mime", "application/x-pkcs7-mime")

Fields = Callable[[str], str]
"""The decoded values of all fields of a name (lower case)."""


def _starts(name: str, *words: str) -> Callable[[Fields], str]:
    """Whether the field is there and begins with one of the words; without words: with anything."""

    def look(field: Fields) -> str:
        value = field(name).strip().lower()
        return f"{name}: {value[:60]}" if value and value.startswith(words or ("",)) else ""

    return look


def _oof(field: Fields) -> str:
    word = first_word(field("auto-submitted"))
    if word == "auto-replied":
        return "auto-submitted: auto-replied"
    return _starts("x-autoreply", "yes")(field)


def _forwarded(field: Fields) -> str:
    if first_word(field("auto-submitted")) == "auto-forwarded":
        return "auto-submitted: auto-forwarded"
    mark = field("x-ms-exchange-generated-message-source").strip()
    return f"x-ms-exchange-generated-message-source: {mark[:60]}" if "mailbox rules agent" in mark.lower() else ""


def _sealed(field: Fields) -> str:
    kind, types = _smime(field)
    if kind in _SMIME and (not types or types != {"signed-data"}):
        return f"content-type: {kind}"
    return f"content-type: {kind}" if kind == "multipart/encrypted" else ""


def _signed(field: Fields) -> str:
    kind, types = _smime(field)
    opaque = kind in _SMIME and "signed-data" in types
    return f"content-type: {kind}" if opaque or kind == "multipart/signed" else ""


def _smime(field: Fields) -> tuple[str, set[str]]:
    """The media type, and what it holds by its smime-type (RFC 8551 3.2.2); several if programs read it differently."""
    whole = field("content-type")
    types = {one.strip().lower() for reading in parameters(whole) for one in values_of(reading, "smime-type")}
    return first_word(whole), types


def _receipt(field: Fields) -> str:
    whole = field("content-type").lower()
    report = first_word(whole) == "multipart/report" and "disposition-notification" in whole
    return "content-type: a disposition notification" if report else ""


_TOLD: dict[MessageType, Callable[[Fields], str]] = {
    MessageType.OOF: _oof,
    MessageType.AUTO_FORWARD: _forwarded,
    MessageType.ENCRYPTED: _sealed,
    MessageType.CALENDARING: lambda field: (
        _starts("content-class", "urn:content-classes:calendarmessage")(field)
        or _starts("content-type", "text/calendar")(field)
    ),
    MessageType.PERMISSION_CONTROLLED: lambda field: (
        _starts("content-class", "rpmsg.message")(field)
        or _starts("content-type", "application/x-microsoft-rpmsg-message")(field)
    ),
    MessageType.VOICEMAIL: lambda field: (
        _starts("content-class", "voice", "missedcall")(field) or _starts("message-context", "voice-message")(field)
    ),
    MessageType.SIGNED: _signed,
    MessageType.APPROVAL_REQUEST: _starts("x-ms-exchange-organization-approval-initiator"),
    MessageType.READ_RECEIPT: _receipt,
}
"""By type: the words of the header that say so, "" if it does not."""
