"""Durations and sizes as people write them: "90s", "1h30m", "50 MiB"."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?\s*(?:ms|s|m|h|d)\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SIZE = re.compile(r"(\d+)\s*(|B|kB|KB|KiB|MB|MiB|GB|GiB)")
_OCTETS = {
    "": 1, "B": 1, "kB": 1000, "KB": 1000, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2, "GB": 1000**3, "GiB": 1024**3,
}  # fmt: skip


def seconds(value: object) -> float:
    """A duration in seconds. Raises ValueError in words for the person who wrote it; bare numbers name no unit."""
    if not isinstance(value, str) or not _DURATION.fullmatch(value.strip()):
        raise ValueError('write a duration with its unit, for example "90s", "15m", "4h" or "1d12h"')
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))


def octets(value: object) -> int:
    """A size in octets. Raises ValueError; a bare number counts octets."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write a size, for example 4096, "64 KiB" or "50 MB"')
    return int(match[1]) * _OCTETS[match[2]]


Duration = Annotated[float, BeforeValidator(seconds)]
"""Seconds, written with a unit."""

Size = Annotated[int, BeforeValidator(octets)]
"""Octets, written with or without a unit."""
