"""Facts of a message that is only supposed: built of what a person said, on top of recorded facts if there are any."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from lockgate.flow.asking.explain import WhatIf
from lockgate.flow.suppose import Unsupposable
from lockgate.flow.supposed_certificate import SELF_SIGNED, named_certificate
from lockgate.mail.address import Address, AddressError, parse_address
from lockgate.mail.connection import Certificate, Connection, Tls
from lockgate.mail.envelope import Envelope
from lockgate.mail.facts import Facts
from lockgate.mail.headers import message_of
from lockgate.mail.message import Message
from lockgate.mail.recipient import RecipientId
from lockgate.policy.policy import Policy

ID = "what-if"
"""Stands where a real message has its id."""

_TLS = {"1.3": "TLSv1.3", "1.2": "TLSv1.2", "1.1": "TLSv1.1", "1.0": "TLSv1"}
_A_MESSAGE = 2000
"""Octets of a message of which nothing was said."""

Presented = Callable[[str, Policy, float], tuple[Certificate, tuple[str, ...], str]]
"""What a certificate (PEM text, a chain with the leaf first) shows at a time: the leaf, under which stores its chain
verifies, and why it does not verify under the public one. Raises ValueError if there is no certificate in the text."""


class Scene(NamedTuple):
    """What supposing needs to know: the policy, the time, our mark in trace fields, and how to read certificates."""

    policy: Policy
    now: float
    installation: str
    presented: Presented


def supposed_facts(said: WhatIf, like: Facts | None, scene: Scene) -> Facts:
    """The facts of the supposed message. Raises Unsupposable with a sentence for the person."""
    connection = _connection(said, like, scene)
    envelope = _envelope(said, like)
    if envelope is not None and said.declared_size:
        envelope = msgspec.structs.replace(envelope, size=said.declared_size)
    recipients = _recipients(said.recipients) if said.recipients else (like.recipients if like is not None else ())
    if recipients and envelope is None:
        raise Unsupposable("recipients need a sender: add --from ADDRESS, or --from '<>' for the null sender")
    message = _message(said, like, scene) if recipients else None
    findings = like.findings if like is not None else None
    at = scene.now if like is None or said.at else like.at
    excerpt = like is not None and like.excerpt and not said.recipients
    facts = Facts(at, connection, envelope, recipients, message, before=_before(said, like), excerpt=excerpt)
    return facts if findings is None else msgspec.structs.replace(facts, findings=findings)


def _before(said: WhatIf, like: Facts | None) -> int:
    return like.before if like is not None and not said.recipients else 0


def _connection(said: WhatIf, like: Facts | None, scene: Scene) -> Connection:
    base = like.connection if like is not None else None
    if base is None and not said.ip:
        raise Unsupposable("say from which address the message comes: --ip 203.0.113.5 (or --like ID)")
    if said.ip or base is None:
        peer, packed = _peer(said.ip)
        helo = base.helo if base is not None else "mail.example"
        listener = base.listener if base is not None else ""
        base = Connection(
            ID, peer, packed, 0, listener, helo=helo, extended=True, tls=base.tls if base is not None else None,
            login=base.login if base is not None else "",
        )  # fmt: skip
    tls = _tls(said, scene) if said.tls or said.certificate or _described(said) else base.tls
    return msgspec.structs.replace(
        base, id=ID, helo=said.helo or base.helo, tls=tls, login=said.login or base.login
    )


def _peer(text: str) -> tuple[str, bytes]:
    try:
        address = ipaddress.ip_address(text.strip("[] "))
    except ValueError:
        raise Unsupposable(f"'{text[:80]}' is no IP address") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    return str(address), address.packed


def _described(said: WhatIf) -> bool:
    """Whether something is said of a certificate besides its names."""
    return bool(said.certificate_trouble or said.certificate_trusted_by or said.certificate_key)


def _tls(said: WhatIf, scene: Scene) -> Tls | None:
    word = said.tls.lower().removeprefix("tlsv").removeprefix("tls") or "1.3"
    if word == "none":
        if said.certificate:
            raise Unsupposable("a certificate is only shown in TLS; leave --tls none or --cert away")
        return None
    if _described(said) and not said.certificate:
        raise Unsupposable("of which certificate? Name it too: --cert mail.bank.test")
    if word not in _TLS:
        raise Unsupposable(f"'{said.tls[:40]}' is no version of TLS; there are {', '.join(_TLS)} and none")
    if not said.certificate:
        return Tls(_TLS[word], "supposed", scene.policy.hostname)
    if "-----BEGIN" in said.certificate:
        try:
            leaf, trusted, trouble = scene.presented(said.certificate, scene.policy, scene.now)
        except ValueError as why:
            raise Unsupposable(f"the certificate cannot be read: {why}") from None
        if said.untrusted:
            trusted, trouble = (), SELF_SIGNED
        if _described(said):
            raise Unsupposable("a PEM file says itself what its certificate is; suppose more of a named one only")
    else:
        leaf, trusted, trouble = named_certificate(said, scene.policy, scene.now)
    return Tls(_TLS[word], "supposed", scene.policy.hostname, leaf, trusted, trouble)


def _envelope(said: WhatIf, like: Facts | None) -> Envelope | None:
    base = like.envelope if like is not None else None
    if said.sender is None:
        return base if base is None or not said.require_tls else msgspec.structs.replace(base, require_tls=True)
    text = said.sender.strip().removeprefix("<").removesuffix(">")
    sender = _address(text) if text else None
    if base is None:
        return Envelope(sender, require_tls=said.require_tls)
    return msgspec.structs.replace(base, sender=sender, require_tls=said.require_tls or base.require_tls)


def _recipients(texts: Iterable[str]) -> tuple[RecipientId, ...]:
    plain = [text.strip().removeprefix("<").removesuffix(">") for text in texts]
    return tuple(
        RecipientId(Address(text, "") if text.casefold() == "postmaster" else _address(text)) for text in plain
    )


def _address(text: str) -> Address:
    try:
        return parse_address(text, utf8=True)
    except AddressError as trouble:
        raise Unsupposable(f"'{text[:80]}' is no address: {trouble}") from None


def _message(said: WhatIf, like: Facts | None, scene: Scene) -> Message | None:
    if like is not None and like.message is not None and not said.head:
        return msgspec.structs.replace(like.message, size=said.size) if said.size else like.message
    # The fields that are given are all there are, whatever size of the message is supposed.
    message = message_of(ID, said.head, len(said.head), scene.installation)
    return msgspec.structs.replace(message, size=said.size or len(said.head) or _A_MESSAGE)
