"""MTA-STS policies out of a list, and a shelf for them in memory."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from lockgate.mail.sts import KeptSts, StsPolicy


class ListedStsPolicies:
    """A seams.StsPolicies that knows these; `rechecked` lists the domains it was asked to fetch anew.

    `troubles` says for domains why their policy cannot be had.
    """

    def __init__(self, policies: Iterable[StsPolicy] = ()) -> None:
        self.policies = {policy.domain: policy for policy in policies}
        self.rechecked: list[str] = []
        self.troubles: dict[str, str] = {}

    async def policy_for(self, domain: str) -> StsPolicy | None:
        """See StsPolicies."""
        return self.policies.get(domain)

    def recheck(self, domain: str) -> None:
        """See StsPolicies."""
        self.rechecked.append(domain)

    def missing(self, domain: str) -> str:
        """See StsPolicies."""
        return self.troubles.get(domain, "")


class MemoryShelf:
    """A seams.StsShelf over a dict; `used` tells when each domain was last used."""

    def __init__(self) -> None:
        self.rows: dict[str, KeptSts] = {}
        self.used: dict[str, float] = {}
        self._named: dict[str, float] = {}

    def get(self, domain: str) -> KeptSts | None:
        """See StsShelf."""
        return self.rows.get(domain)

    def claim(self, domain: str, now: float, until: float) -> bool:
        """See StsShelf."""
        row = self.rows.get(domain, KeptSts(domain))
        if now < row.busy:
            return False
        self.rows[domain] = msgspec.structs.replace(row, busy=until, failed=0.0)
        return True

    def put(self, policy: StsPolicy, now: float, calm: float) -> None:
        """See StsShelf."""
        self.rows[policy.domain] = KeptSts(policy.domain, policy, now, busy=calm)
        self.used.setdefault(policy.domain, now)

    def fail(self, domain: str, now: float, why: str, word: str, calm: float) -> None:
        """See StsShelf."""
        row = self.rows.get(domain, KeptSts(domain))
        self.rows[domain] = msgspec.structs.replace(row, failed=now, why=why, word=word, busy=calm)

    def use(self, domain: str, now: float) -> None:
        """See StsShelf."""
        if domain in self.rows:
            self.used[domain] = now

    def due(self, now: float, age: float, used_since: float, pause: float, limit: int) -> tuple[str, ...]:
        """See StsShelf."""
        found = [
            row for row in self.rows.values()
            if row.alive(now) and row.fetched < now - age and self.used.get(row.domain, 0.0) >= used_since
            and self._named.get(row.domain, 0.0) <= now - pause
        ]  # fmt: skip
        found.sort(key=lambda row: (self._named.get(row.domain, 0.0), row.fetched))
        self._named |= {row.domain: now for row in found[:limit]}
        return tuple([row.domain for row in found[:limit]])
