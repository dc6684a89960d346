"""Where did mail from a gateway really come from? Specification 1.13.2 (enhanced filtering), amendments.

A Received field is believed as far as the host is trusted that wrote it: the connecting hop if the connector says so,
and behind it each hop that is skipped. The first one that is not skipped is the true source; nothing below it counts,
for it may have written that itself.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple

from lockgate.mail.connection import Connection
from lockgate.mail.message import Message
from lockgate.mail.received import HandedOver, Unbelievable, handed_over
from lockgate.mail.ruling import Hit
from lockgate.policy.enhanced_filtering import EnhancedFiltering, is_nobody, private_range

MOST = 30
"""So many hops are followed; mail with more Received fields is refused as a loop."""


class Outcome(enum.StrEnum):
    """FOUND; DIRECT: the peer itself, no gateway is between; INSIDE: every hop there is was skipped; DOUBTFUL."""

    FOUND = "found"
    DIRECT = "direct"
    INSIDE = "inside"
    DOUBTFUL = "doubtful"


class Looked(NamedTuple):
    """One hop: its address ("" where it cannot be read), whether it was skipped (YES or NO), and why."""

    address: str
    hit: Hit
    because: str


class Found(NamedTuple):
    """What the walk came to. `address` and `helo` are set with FOUND; `because` is the rest of a sentence."""

    outcome: Outcome
    hops: tuple[Looked, ...]
    because: str
    address: str = ""
    helo: str = ""


def look_for_source(connection: Connection, message: Message, wanted: EnhancedFiltering) -> Found:
    """Walk from the connecting hop backward."""
    why = _skipped(connection.packed, wanted, last=True)
    if not why:
        because = f"{connection.peer} is no hop that the connector skips"
        return Found(Outcome.DIRECT, (Looked(connection.peer, Hit.NO, because),), because)
    hops = [Looked(connection.peer, Hit.YES, why)]
    for number, value in enumerate(_received(message), 1):
        if number > MOST:
            return Found(Outcome.DOUBTFUL, tuple(hops), f"there are more than {MOST} hops")
        where = f"Received field {number} from the top"
        try:
            hop = _believed(value)
        except Unbelievable as trouble:
            hops.append(Looked("", Hit.NO, f"{where} is not believed: {trouble}"))
            return Found(Outcome.DOUBTFUL, tuple(hops), f"{where} is not believed: {trouble}")
        why = _skipped(hop.packed, wanted, last=False)
        if not why:
            because = f"{where} names {hop.address}, which is none of the hops that are skipped"
            hops.append(Looked(hop.address, Hit.NO, f"{because}: the true source"))
            return Found(Outcome.FOUND, tuple(hops), because, hop.address, hop.helo)
        hops.append(Looked(hop.address, Hit.YES, f"{where}: {why}"))
    if message.cut:
        return Found(Outcome.DOUBTFUL, tuple(hops), "the header is too long to be known whole")
    return Found(Outcome.INSIDE, tuple(hops), "every hop that is known was skipped, and no address is left")


def _received(message: Message) -> Iterator[str]:
    return (value for name, value in message.fields if name.lower() == "received")


def _believed(value: str) -> HandedOver:
    hop = handed_over(value)
    if is_nobody(hop.packed):
        raise Unbelievable(f"no host can have the address {hop.address}")
    return hop


def _skipped(packed: bytes, wanted: EnhancedFiltering, *, last: bool) -> str:
    """Why this hop is skipped, "" if it is not."""
    if last and wanted.skip_last:
        return "it is the connecting hop, which the connector skips"
    private = private_range(packed)
    if private:
        return f"it is a private address ({private})"
    entry = wanted.skipped.find(packed)
    return f"the connector skips {entry}" if entry is not None else ""
