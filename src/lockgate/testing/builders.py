"""Facts, directories and policies for tests, each in one line."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping

from lockgate.mail.address import Address, parse_address
from lockgate.mail.connection import Certificate, Connection, Load, Tls
from lockgate.mail.envelope import Envelope
from lockgate.mail.facts import Facts
from lockgate.mail.findings import (
    ABOUT_MESSAGE,
    NOT_BLOCKED,
    Answer,
    Belongs,
    BelongsTo,
    Findings,
    Forwarding,
    InList,
    IsBlocked,
    MembersOf,
    OnList,
    Question,
    RecipientKind,
    Restriction,
    Unknown,
    Who,
)
from lockgate.mail.message import Message
from lockgate.mail.recipient import RecipientId
from lockgate.policy.compile import compile_policy
from lockgate.policy.policy import Policy
from lockgate.testing.memory import MemoryDirectory

NOW = 1_900_000_000.0
"""The time at which tests judge."""


def policy_of(text: str, *, hostname: str = "mx.lockgate.test", revision: int = 1) -> Policy:
    """The compiled policy of one TOML document. Raises documents.Invalid."""
    return compile_policy({"test.toml": text}, hostname=hostname, revision=revision)


def certificate_of(*names: str, spki: str = "k1", common_name: str = "", purposes: Iterable[str] = ()) -> Certificate:
    """A client certificate for these names; `spki` is any text and becomes 64 hex digits."""
    return Certificate(
        names=names,
        common_name=common_name,
        subject=f"CN={common_name}",
        issuer="CN=Test CA",
        serial="01",
        not_before=NOW - 86400,
        not_after=NOW + 86400,
        spki_sha256=spki_of(spki),
        purposes=tuple(purposes),
    )


def spki_of(word: str) -> str:
    """A pin made of any word: its octets as hex, filled up to 64 digits."""
    return word.encode().hex().ljust(64, "0")[:64]


def tls_of(certificate: Certificate | None = None, *, trusted_by: Iterable[str] = (), trouble: str = "") -> Tls:
    """A finished handshake. Without `trusted_by` the certificate is self-signed to everybody."""
    trusted = tuple(trusted_by)
    if certificate is not None and "public" not in trusted and not trouble:
        trouble = "it is self-signed"
    return Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", "mx.lockgate.test", certificate, trusted, trouble)


def connection_of(
    peer: str = "198.51.100.7", *, tls: Tls | None = None, login: str = "", load: Load | None = None
) -> Connection:
    """A connection from this address."""
    return Connection(
        id="C0NNECT10N",
        peer=peer,
        packed=ipaddress.ip_address(peer).packed,
        port=40000,
        listener="192.0.2.1:25",
        helo="mail.sender.test",
        extended=True,
        tls=tls,
        login=login,
        load=load or Load(),
    )


def message_of(size: int = 1000, *, hops: int = 0, own_hops: int = 0, cut: bool = False) -> Message:
    """A message of which only measures matter."""
    return Message("0192-message", size, (("Subject", "Hello"),), "<m1@sender.test>", "Hello", hops, own_hops, cut)


def address(text: str) -> Address:
    """An address out of its text; <postmaster> may stand alone."""
    return Address(text, "") if "@" not in text else parse_address(text, utf8=True)


def facts_of(
    sender: str = "x@sender.test",
    *recipients: str,
    connection: Connection | None = None,
    message: Message | None = None,
    require_tls: bool = False,
    findings: Mapping[Question, Answer] | None = None,
) -> Facts:
    """One transaction; the empty sender is <>."""
    return Facts(
        NOW,
        connection or connection_of(),
        Envelope(address(sender) if sender else None, require_tls=require_tls),
        tuple(RecipientId(address(recipient)) for recipient in recipients),
        message or message_of(),
        Findings(dict(findings or {})),
    )


def who_of(
    organisation: str,
    primary: str,
    *,
    kind: str = "mail_user",
    external: str = "",
    forwarding: str = "",
    keeps_copy: bool = False,
    by_user: bool = False,
    restriction: Restriction | None = None,
    **attributes: str,
) -> Who:
    """A recipient object; `forwarding` is the address to which a mailbox sends its mail on."""
    target = address(external) if external else None
    onward = Forwarding(address(forwarding), keeps_copy, by_user) if forwarding else None
    return Who(organisation, RecipientKind(kind), address(primary), target, dict(attributes), onward, restriction)


def people(
    *everybody: Who,
    aliases: Mapping[str, str] | None = None,
    members: Mapping[str, Iterable[str]] | None = None,
    failing: str = "",
) -> Callable[[tuple[Question, ...]], dict[Question, Answer]]:
    """A directory that answers questions; `aliases` maps further addresses to primary ones.

    `members` maps the primary address of a group to addresses as they are listed. With `failing` it answers nothing but
    Unknown with that reason.
    """
    known = {(who.organisation, who.primary.key): who for who in everybody}
    by_primary = {who.primary.key: who for who in everybody}
    for alias, primary in (aliases or {}).items():
        who = by_primary[primary.casefold()]
        known[who.organisation, alias.casefold()] = who
    listed = {
        (by_primary[group.casefold()].organisation, group.casefold()): tuple(texts)
        for group, texts in (members or {}).items()
    }
    directory = MemoryDirectory(known, listed)
    directory.broken = failing

    def ask(questions: tuple[Question, ...]) -> dict[Question, Answer]:
        answers: dict[Question, Answer] = {}
        for question in questions:
            if isinstance(question, MembersOf):
                answers[question] = directory.members_of(question.organisation, question.address)
            elif isinstance(question, BelongsTo):
                answers[question] = _belongs(directory, question)
            elif isinstance(question, IsBlocked):
                answers[question] = NOT_BLOCKED
            elif isinstance(question, InList):
                answers[question] = OnList("", 0, empty=True)
            elif not isinstance(question, ABOUT_MESSAGE):
                answers[question] = directory.who_is(question.organisation, question.address)
        return answers

    return ask


def _belongs(directory: MemoryDirectory, question: BelongsTo) -> Answer:
    """Whether it is a member, groups within groups looked through."""
    seen: set[str] = set()
    waiting = [question.group]
    while waiting:
        group = waiting.pop()
        found = directory.members_of(question.organisation, group)
        if isinstance(found, Unknown):
            return found
        keys = {who.primary.key for who in found.known} | {one.key for one in found.others}
        waiting += sorted(keys - seen)
        seen |= keys
    return Belongs(question.address in seen)
