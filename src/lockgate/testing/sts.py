"""MTA-STS policies out of a list."""

from __future__ import annotations

from collections.abc import Iterable

from lockgate.mail.sts import StsPolicy


class ListedStsPolicies:
    """A seams.StsPolicies that knows these; `rechecked` lists the domains it was asked to fetch anew."""

    def __init__(self, policies: Iterable[StsPolicy] = ()) -> None:
        self.policies = {policy.domain: policy for policy in policies}
        self.rechecked: list[str] = []

    async def policy_for(self, domain: str) -> StsPolicy | None:
        """See StsPolicies."""
        return self.policies.get(domain)

    def recheck(self, domain: str) -> None:
        """See StsPolicies."""
        self.rechecked.append(domain)
