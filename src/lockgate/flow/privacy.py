"""What each organisation wants kept of people: from the policy of now, for every sink."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from lockgate.mail.redaction import Kept, Masking, Redactor, strictest
from lockgate.policy.objects.organisation import Organisation
from lockgate.policy.policy import Policy


class Wishes(msgspec.Struct, frozen=True):
    """What is kept where an organisation says nothing: the operator's file. `retention` and `hold` in seconds."""

    retention: float = 90 * 86400.0
    masking: Masking = Masking.NONE
    facts: bool = True
    subjects: bool = True
    hold: float = 30 * 86400.0


class Privacy:
    """Redactors and retention by organisation. Worked out once for each policy; asking costs one look-up.

    What belongs to no organisation (a refusal at connect) is treated as the strictest of all wishes it.
    """

    def __init__(self, policy: Callable[[], Policy], wishes: Wishes, key: bytes) -> None:
        self._policy = policy
        self._wishes = wishes
        self._key = key
        self._known: Policy | None = None
        self._redactors: dict[str, Redactor | None] = {}
        self._kept: dict[str, Kept] = {}
        self._default = self._redactor(wishes.masking, subjects=wishes.subjects, facts=wishes.facts)
        self._keeps = Kept(wishes.retention, wishes.facts and wishes.masking is Masking.NONE)

    def redactor(self, organisation: str) -> Redactor | None:
        """A Discretion: how this organisation's rows are hidden; None: not at all."""
        if self._policy() is not self._known:
            self._look()
        return self._redactors.get(organisation, self._default)

    def __call__(self, organisation: str) -> Kept:
        """How long this organisation's trace lives, and whether its facts do."""
        self._look()
        return self._kept.get(organisation, self._keeps)

    def organisations(self) -> list[str]:
        """Those with an entry of their own."""
        self._look()
        return [*self._kept]

    def wishes(self) -> dict[str, Kept]:
        """What each organisation keeps, for whoever cannot ask."""
        self._look()
        return dict(self._kept)

    def hold_life(self, policy: Policy, organisation: str) -> float:
        """For how many seconds held mail of this organisation is kept."""
        known = policy.organisations.get(organisation)
        wished = known.organisation.hold_retention if known is not None else None
        return self._wishes.hold if wished is None else float(wished)

    def _look(self) -> None:
        policy = self._policy()
        if policy is self._known:
            return
        redactors: dict[str, Redactor | None] = {}
        kept: dict[str, Kept] = {}
        for name, mine in policy.organisations.items():
            redactors[name], kept[name] = self._of(mine.organisation)
        strict = {**redactors, "": self._default}
        redactors[""] = strictest(strict.get, strict)
        self._redactors, self._kept, self._known = redactors, kept, policy

    def _of(self, mine: Organisation) -> tuple[Redactor | None, Kept]:
        wishes = self._wishes
        masking = wishes.masking if mine.trace_masking is None else Masking(mine.trace_masking)
        facts = wishes.facts if mine.trace_facts is None else mine.trace_facts
        subjects = wishes.subjects if mine.trace_subjects is None else mine.trace_subjects
        life = wishes.retention if mine.trace_retention is None else float(mine.trace_retention)
        return (
            self._redactor(masking, subjects=subjects, facts=facts),
            Kept(life, facts and masking is Masking.NONE),
        )

    def _redactor(self, masking: Masking, *, subjects: bool, facts: bool) -> Redactor | None:
        if masking is Masking.NONE and subjects and facts:
            return None
        return Redactor(masking, subjects, facts, self._key)
