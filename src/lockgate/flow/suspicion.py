"""Is an own server taken over? What its connector carried, weighed against its own history (specification 1.3). Pure.

No sign decides alone by default: a server after a migration sends more, a list server sends for others. Shares are
compared with what the same connector usually has, so that whoever always sends so is not suspected for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lockgate.mail.devices import BUCKET, Traffic


class Thresholds(msgspec.Struct, frozen=True):
    """From which value on something is a sign. Times in seconds, shares from 0 to 1.

    `window`: what is looked at; `least`: with fewer messages (recipients outside, for what comes back) in it nothing is
    a sign; `volume`: times the busiest window of its history, which has to be `history` long; `mismatched`,
    `unregistered`, `returned`: shares. `signs`: so many together mean that the server is taken over.
    """

    window: float = 3600.0
    least: int = 200
    volume: float = 10.0
    history: float = 86400.0
    mismatched: float = 0.5
    unregistered: float = 0.3
    returned: float = 0.3
    signs: int = 2


class Lately(msgspec.Struct, frozen=True):
    """What one connector carried in the window; `returned` recipients were refused downstream.

    `changed` says how it was made or changed outside the usual pattern; "": it was not.
    """

    traffic: Traffic
    returned: int = 0
    changed: str = ""


Evidence = dict[str, dict[str, Any]]
"""By the name of the sign: `said` in words, and the figures."""


def weigh(lately: Lately, history: Sequence[Traffic], limits: Thresholds) -> Evidence:
    """The signs that are there; nothing, where too little was sent to tell."""
    now = lately.traffic
    found: Evidence = {}
    if now.messages >= limits.least:
        if sign := _jump(now, history, limits):
            found["volume"] = sign
        usual = whole(history)
        for name, share, what in (
            ("mismatched", limits.mismatched, "have an author of another domain than their envelope sender"),
            ("unregistered", limits.unregistered, "are of domains that the organisation does not have"),
        ):
            if sign := _share(name, what, now, usual, share, limits):
                found[name] = sign
    if now.outside >= limits.least and lately.returned >= limits.returned * now.outside:
        said = f"{lately.returned} of {now.outside} recipients outside were refused where they are"
        found["returned"] = {"said": said, "count": lately.returned, "of": now.outside}
    if lately.changed:
        found["changed"] = {"said": lately.changed}
    return found


def is_taken_over(found: Evidence, limits: Thresholds) -> bool:
    """Whether the signs suffice; a change of the connector is one only beside mail that is strange.

    Where there is no history to compare with, strange authors and strange domains both say only that the server sends
    for others, as a new list server does: they are one sign.
    """
    new = [name for name, sign in found.items() if "usual" in sign and sign["usual"] is None]
    return len(found) - max(0, len(new) - 1) >= limits.signs and any(name != "changed" for name in found)


def in_words(found: Evidence) -> str:
    """All signs in one sentence."""
    return "; ".join(str(sign["said"]) for sign in found.values())


def whole(traffic: Sequence[Traffic]) -> Traffic | None:
    """Everything together; None if there is nothing."""
    total: Traffic | None = None
    for one in traffic:
        total = one if total is None else total.plus(one)
    return total


def busiest(traffic: Sequence[Traffic], window: float) -> int:
    """The most messages that any window of this length held; `traffic` in order of time."""
    most = first = messages = 0
    for one in traffic:
        messages += one.messages
        while traffic[first].at <= one.at - max(window, BUCKET):
            messages -= traffic[first].messages
            first += 1
        most = max(most, messages)
    return most


def _jump(now: Traffic, history: Sequence[Traffic], limits: Thresholds) -> dict[str, Any] | None:
    if not history or now.at - history[0].at < limits.history:
        return None  # too new to have a usual volume
    usual = busiest(history, limits.window)
    if now.messages < limits.volume * max(usual, 1):
        return None
    minutes = int(limits.window // 60)
    said = f"{now.messages} messages within {minutes} minutes, where {usual} was the most before"
    return {"said": said, "count": now.messages, "usual": usual}


def _share(
    name: str, what: str, now: Traffic, usual: Traffic | None, share: float, limits: Thresholds
) -> dict[str, Any] | None:
    count = int(getattr(now, name))
    part = count / now.messages
    before = getattr(usual, name) / usual.messages if usual is not None and usual.messages >= limits.least else None
    if part < share or part < 2 * (before or 0.0):
        return None
    compared = "there is no history to compare with" if before is None else f"usually {before:.0%}"
    said = f"{count} of {now.messages} messages {what} ({compared})"
    return {"said": said, "count": count, "of": now.messages, "usual": None if before is None else round(before, 3)}
