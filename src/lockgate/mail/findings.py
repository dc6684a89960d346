"""What can be found out about a message. A question is plain data; Unknown is an answer."""

from __future__ import annotations

import enum

import msgspec

from lockgate.mail.address import Address
from lockgate.mail.authentication import Authenticated
from lockgate.mail.lists import ListKind
from lockgate.mail.structure import Structure


class RecipientKind(enum.StrEnum):
    """The kinds of recipient object (specification 1.6)."""

    MAILBOX = "mailbox"
    MAIL_USER = "mail_user"
    MAIL_CONTACT = "mail_contact"
    GROUP = "distribution_group"


class Forwarding(msgspec.Struct, frozen=True):
    """Where a mailbox sends its mail on; with `keeps_copy` it has its own copy besides.

    `by_user` tells that its owner set it up, and not an administrator: remote domains may forbid that (1.5).
    """

    to: Address
    keeps_copy: bool = True
    by_user: bool = False


class Restriction(msgspec.Struct, frozen=True):
    """Who may send to a recipient (specification 1.6 rule 8). Empty values restrict nothing.

    `authenticated_only`: only senders that are proven to be of the organisation; `members_only`: only its members (of a
    group). `accept_from` and `reject_from` are primary addresses in `Address.key` form, of people and of groups whose
    members are meant.
    """

    authenticated_only: bool = False
    members_only: bool = False
    accept_from: tuple[str, ...] = ()
    reject_from: tuple[str, ...] = ()


class Who(msgspec.Struct, frozen=True):
    """One recipient object of the directory, as the judge needs it.

    `primary` is the primary address, `external` the target address of a mail user or contact (None: none
    given, which for a mail user means "lives on the other side", amendments). `attributes` are the directory
    attributes of specification 1.15.2 by their lower_snake_case names; absent ones are not set.
    """

    organisation: str
    kind: RecipientKind
    primary: Address
    external: Address | None = None
    attributes: dict[str, str] = {}
    forwarding: Forwarding | None = None
    restriction: Restriction | None = None


class WhoIs(msgspec.Struct, frozen=True, tag="who_is"):
    """Question to the directory of an organisation: whose is this address? Answered by `Known`."""

    organisation: str
    address: str


class Known(msgspec.Struct, frozen=True, tag="known"):
    """The directory's answer: the recipient, or None if nobody has this address; and the directory revision."""

    who: Who | None
    revision: int


class Unknown(msgspec.Struct, frozen=True, tag="unknown"):
    """The third truth value: it could not be found out, and why. Never a hit, never a miss."""

    why: str


class MembersOf(msgspec.Struct, frozen=True, tag="members_of"):
    """Question to the directory: who are the direct members of this group (its primary address)? Answer: `Members`."""

    organisation: str
    address: str


class Members(msgspec.Struct, frozen=True, tag="members"):
    """The direct members of a group: the recipients of its organisation among them, and addresses of others."""

    known: tuple[Who, ...]
    others: tuple[Address, ...]
    revision: int


class LeadsBack(msgspec.Struct, frozen=True, tag="leads_back"):
    """Question about an address that looks like a rewritten sender (mail/srs.py): whose is it? Answer: `Original`."""

    organisation: str
    address: str


class Original(msgspec.Struct, frozen=True, tag="original"):
    """Whom a rewritten sender stands for, or None and why it stands for nobody (too old, forged)."""

    sender: Address | None
    why: str = ""


class CallForward(msgspec.Struct, frozen=True, tag="call_forward"):
    """Question to the next hop of an address whose domain has no directory here: would it be taken? Answer: `Said`."""

    organisation: str
    address: str


class Said(msgspec.Struct, frozen=True, tag="said"):
    """The next hop's final answer to RCPT: taken or not, its words, which host said so, and whether it was remembered.

    `takes_all` tells that the host takes any address, so that its yes says nothing about this one.
    """

    accepts: bool
    reply: str
    host: str = ""
    remembered: bool = False
    takes_all: bool = False


NOT_CERTAIN = "not certain"
"""Stands for the address of the true source where what gateways say of it cannot be believed."""


class WhoSent(msgspec.Struct, frozen=True, tag="who_sent", omit_defaults=True):
    """Question for an organisation that wants it answered: what proves the sender of this message? `Authenticated`.

    Behind a gateway, `source` is the address of the host from which the message really came, and `helo` the name it
    gave there; "" is the peer of the connection, NOT_CERTAIN that no address may prove anything.
    """

    organisation: str
    source: str = ""
    helo: str = ""


class WhatParts(msgspec.Struct, frozen=True, tag="what_parts"):
    """Question for an organisation whose rules look at parts: what is the message made of? Answer: `Structure`."""

    organisation: str


class InText(msgspec.Struct, frozen=True, tag="in_text"):
    """Question for an organisation whose rules look into the text: is one of these needles there? Answer: `Found`.

    `needles` is the digest of what is looked for: the same question later, under another policy, has the same answer.
    """

    organisation: str
    needles: str


class Found(msgspec.Struct, frozen=True, tag="found"):
    """What was found in the text: the first needle as it was written, "" for none.

    `cut` tells that the text is longer than what is looked through, `slow` that it takes too long to look for one of
    them in it, so that "none" is not sure.
    """

    needle: str
    cut: bool = False
    slow: bool = False


class AnyRecipient(msgspec.Struct, frozen=True, tag="any_recipient"):
    """Question for an organisation whose rules ask of all its recipients: has one of them such an address? `Among`.

    `needles` is the digest of what is looked for, `original` tells that addresses count as they were sent, not the
    primary ones. Nobody is asked: it follows from who the recipients are (decision/among.py).
    """

    organisation: str
    needles: str
    original: bool = False


class Among(msgspec.Struct, frozen=True, tag="among"):
    """The first of the organisation's recipients that has one of the needles, and that needle; both "" for none."""

    needle: str = ""
    address: str = ""


class BelongsTo(msgspec.Struct, frozen=True, tag="belongs_to"):
    """Question to the directory: is this one a member of the group, or of a group within it? Answer: `Belongs`.

    `group` is the group's primary address, `address` any address of the one who is asked about (`Address.key` forms).
    """

    organisation: str
    group: str
    address: str


class Belongs(msgspec.Struct, frozen=True, tag="belongs"):
    """Whether it does; `gone` tells that there is no such group. `revision` is the directory's."""

    member: bool
    gone: bool = False
    revision: int = 0


class IsBlocked(msgspec.Struct, frozen=True, tag="is_blocked"):
    """Question about an own-server inbound connector that a session came by: is it blocked? Answer: `Blocking`."""

    organisation: str
    connector: str


class Blocking(msgspec.Struct, frozen=True, tag="blocking"):
    """The block of a connector: its id, since when (seconds since the epoch), why and by whom; no id: none.

    `suspected` tells that the service judged it compromised; otherwise a person blocked it.
    """

    id: str = ""
    since: float = 0.0
    because: str = ""
    by: str = ""
    suspected: bool = False


NOT_BLOCKED = Blocking()


class InList(msgspec.Struct, frozen=True, tag="in_list"):
    """Question to a named list of this kind: is the value on it? Answer: `OnList`.

    The value is an address (`Address.key` form), a domain (which is on it with a domain above it too), or a short text
    such as the subject, in which one of the words is looked for.
    """

    organisation: str
    list: str
    kind: ListKind
    value: str


class ListInText(msgspec.Struct, frozen=True, tag="list_in_text"):
    """Question for an organisation whose rules look into the text: is an entry of this list of words there? `OnList`.
    """

    organisation: str
    list: str


class OnList(msgspec.Struct, frozen=True, tag="on_list", omit_defaults=True):
    """The entry that was found, as it was written, "" for none; and the revision of the list.

    `empty` tells that the list has no entries; `cut` that the text is longer than what is looked through, so that
    "none" is not sure.
    """

    entry: str
    revision: int
    empty: bool = False
    cut: bool = False


Question = (
    WhoIs | CallForward | WhoSent | MembersOf | LeadsBack | WhatParts | InText | BelongsTo | IsBlocked | AnyRecipient
    | InList | ListInText
)  # fmt: skip
"""Every kind of question there is; later kinds join this union."""

ABOUT_MESSAGE = (WhoSent, WhatParts, InText, IsBlocked, AnyRecipient, ListInText)
"""Questions about message and session, whose answers are the same for all recipients of an organisation."""

Answer = (
    Known | Said | Authenticated | Members | Original | Structure | Found | Belongs | Blocking | Among | OnList
    | Unknown
)  # fmt: skip
"""Every kind of answer there is."""


class Findings:
    """What has been found out so far: an immutable map from question to answer."""

    __slots__ = ("_answers",)

    def __init__(self, answers: dict[Question, Answer] | None = None) -> None:
        self._answers = answers or {}

    def get(self, question: Question) -> Answer | None:
        """The answer, or None if nobody has asked yet."""
        return self._answers.get(question)

    def __contains__(self, question: Question) -> bool:
        return question in self._answers

    def learn(self, answers: dict[Question, Answer]) -> Findings:
        """These findings and the given ones."""
        return Findings({**self._answers, **answers})

    def items(self) -> list[tuple[Question, Answer]]:
        """All answers in the order in which they came."""
        return list(self._answers.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Findings) and self._answers == other._answers

    def __hash__(self) -> int:
        return hash(frozenset(self._answers))

    def __repr__(self) -> str:
        return f"Findings({self._answers!r})"


NOTHING_FOUND = Findings()
