"""The four rights of a session for one recipient, each judged for itself (specification 1.1.2, 2.2 steps B and C)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from lockgate.mail.facts import Facts
from lockgate.mail.internal_headers import AUTH_AS, CROSS_PREMISES, NETWORK_ID, SCL, promoted
from lockgate.mail.message import Message
from lockgate.mail.ruling import Direction, Hit, Standing

if TYPE_CHECKING:
    from lockgate.policy.policy import OrganisationPolicy

_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class Right(NamedTuple):
    """Whether it is held (YES or NO), and why, as the rest of a sentence."""

    hit: Hit
    because: str


class Rights(NamedTuple):
    """To relay; to be taken for the organisation's own people; to have internal header fields believed; to have no
    content verdict. `network_id` is the network message id that a believed field gives the message, or "".
    """

    relay: Right
    internal: Right
    promotion: Right
    bypass: Right
    network_id: str

    def named(self) -> Iterator[tuple[str, Right]]:
        """Each right with its name in explanations."""
        yield "right to relay", self.relay
        yield "internal trust", self.internal
        yield "header promotion", self.promotion
        yield "spam bypass", self.bypass


def rights_of(mine: OrganisationPolicy, facts: Facts, standing: Standing, message: Message) -> Rights:
    """The rights of a session that shows own servers or a login, for a recipient with this standing."""
    promotion = _promotion(mine, standing)
    said = promoted(message.fields) if promotion.hit is Hit.YES and message.internal else {}
    if promotion.hit is Hit.YES:
        internal = _by_header(_value(said, AUTH_AS))
    else:
        internal = _internal(mine, facts, standing)
    known = _value(said, NETWORK_ID).strip("<> ")
    return Rights(
        _relay(facts, standing),
        internal,
        promotion,
        _bypass(internal, _value(said, SCL)),
        known.lower() if _GUID.fullmatch(known) else "",
    )


def _yes(because: str) -> Right:
    return Right(Hit.YES, because)


def _no(because: str) -> Right:
    return Right(Hit.NO, because)


def _relay(facts: Facts, standing: Standing) -> Right:
    if standing.inbound_connector:
        return _yes(f"the own-server connector {standing.inbound_connector} gives it")
    if standing.direction is Direction.ORIGINATING and facts.connection.login:
        return _yes("the login gives it to senders of the organisation")
    return _no(f"no own server and no login makes this mail of {standing.organisation or 'anybody'}")


def _promotion(mine: OrganisationPolicy, standing: Standing) -> Right:
    name = standing.inbound_connector
    connector = mine.inbound.get(name) if name else None
    if connector is None or not connector.on_premises:
        return _no("the message is not attributed to a connector of own servers")
    if not connector.cloud_services_mail_enabled:
        return _no(f"cloud_services_mail_enabled is off at {name}: internal header fields are taken out")
    return _yes(f"{name} has cloud_services_mail_enabled: what {CROSS_PREMISES}* fields say is believed")


def _by_header(auth_as: str) -> Right:
    if auth_as.casefold() == "internal":
        return _yes(f"the other side says {AUTH_AS}: Internal")
    return _no(f"the other side says {AUTH_AS}: {auth_as[:40]}" if auth_as else f"the other side says no {AUTH_AS}")


def _internal(mine: OrganisationPolicy, facts: Facts, standing: Standing) -> Right:
    name = standing.inbound_connector
    if not name:
        if facts.connection.login and standing.direction is Direction.ORIGINATING:
            return _yes("the session is logged in")
        return _no("the message is attributed to no own server and no login")
    connector = mine.inbound.get(name)
    if connector is None or not connector.treat_messages_as_internal:
        return _no(f"neither treat_messages_as_internal nor cloud_services_mail_enabled is on at {name}")
    if not standing.own_domain:
        because = f"treat_messages_as_internal is on at {name}, but the sender's domain is none of the organisation"
        return _no(because)
    return _yes(f"treat_messages_as_internal is on at {name}, and the sender's domain is accepted")


def _bypass(internal: Right, scl: str) -> Right:
    if internal.hit is Hit.YES:
        return _yes("internal mail is not filtered for spam")
    if scl == "-1":
        return _yes(f"the other side says {SCL}: -1")
    return _no("the message is not internal, and no own server says that it is no spam")


def _value(said: dict[str, tuple[str, str]], name: str) -> str:
    return said.get(name.lower(), ("", ""))[1].strip()
