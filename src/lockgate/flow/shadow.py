"""A draft judged in the shadow of the live policy: for a share of the mail, from what was recorded, without effect."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from lockgate.flow.compared import Compared
from lockgate.flow.replay import Comparison
from lockgate.mail.record import Kept


class Draft(msgspec.Struct, frozen=True):
    """What runs in the shadow: the documents, for which share of the messages (above 0, 1: all), who began it and when.

    `base` is the revision that was in force then, `digest` that of the compiled draft. `at` also names the shadow: what
    was counted for another one does not count for it.
    """

    documents: dict[str, str]
    share: float
    by: str
    at: float
    note: str = ""
    base: int = 0
    digest: str = ""


class ShadowTally(msgspec.Struct):
    """What was found so far. `begun` is the `at` of the draft; `message` and `refusal` say up to where was judged.

    `dropped` counts messages and refusals that were passed over because too many waited, `passed` those outside the
    share. `trouble` says why nothing is judged, if so.
    """

    begun: float
    message: int = 0
    refusal: int = 0
    at: float = 0.0
    passed: int = 0
    dropped: int = 0
    trouble: str = ""
    compared: Compared = msgspec.field(default_factory=Compared)


def in_share(message: str, share: float) -> bool:
    """Whether this message (or connection) is judged: by its id alone, so that all its recipients are, or none."""
    number = int.from_bytes(hashlib.blake2b(message.encode(), digest_size=4).digest())
    return number < share * 2**32


def judge_share(comparison: Comparison, tally: ShadowTally, kept: Iterable[Kept], share: float) -> int:
    """Judge those of the share; how many that were."""
    judged = 0
    for one in kept:
        if in_share(one.id, share):
            comparison.look(one)
            judged += 1
        else:
            tally.passed += 1
    return judged
