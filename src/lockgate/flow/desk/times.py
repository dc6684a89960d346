"""Moments as people write them: "2h" ago, a date and time, or seconds since the epoch."""

from __future__ import annotations

import datetime as dt
import math
import re

from lockgate.flow.desk.section import Misuse

_AGO = re.compile(r"(\d+)\s*([smhd])")
_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment_before(text: str, now: float) -> float:
    """ "2h" before `now`, a date and time (RFC 3339), or seconds since the epoch. Raises Misuse."""
    if ago := _AGO.fullmatch(text.strip()):
        return now - int(ago[1]) * _UNIT[ago[2]]
    try:
        seconds = float(text)
    except ValueError:
        return moment(text)
    if not math.isfinite(seconds):
        raise Misuse(f"'{text[:40]}' is no time")
    return seconds


def moment(text: str) -> float:
    """A date, or a date and time (RFC 3339; without a zone UTC), as seconds since the epoch. Raises Misuse."""
    try:
        when = dt.datetime.fromisoformat(text.strip())
        return (when if when.tzinfo else when.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, OverflowError):
        raise Misuse(f"'{text[:40]}' is no time; write 2h, 2026-11-24 or 2026-11-24T08:00:00Z") from None
