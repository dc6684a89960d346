"""To whom: conditions about one recipient. The message is split where they differ (specification 1.15.4)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, RootModel

from lockgate.mail.address import Address
from lockgate.policy.kinds import condition
from lockgate.policy.rules import Case, RecipientTest, Seen, no, yes
from lockgate.policy.spelling import DomainName
from lockgate.policy.tries import DomainMap


@condition("recipient_domain_is", "The recipient's domain is one of these, or below one", per_recipient=True)
class RecipientDomainIs(RootModel[tuple[DomainName, ...]], frozen=True):
    """Specification 1.15.4; subdomains included (C-4)."""

    root: tuple[DomainName, ...] = Field(
        min_length=1, description="Domains; their subdomains are included.", examples=[["contoso.com", "fabrikam.com"]]
    )

    by_domain_alone: ClassVar[Literal[True]] = True

    def recipient_domains(self) -> tuple[str, ...]:
        """It can hit nobody else."""
        return self.root

    def compile(self) -> RecipientTest:
        """Test the domain of the recipient."""
        exact = {domain: yes(f"the recipient's domain is {domain}") for domain in self.root}
        known = DomainMap((f"*.{domain}", domain) for domain in self.root)
        others = ", ".join(self.root[:5]) + (", ..." if len(self.root) > 5 else "")

        def test(_: Case, recipient: Address) -> Seen:
            seen = exact.get(recipient.domain)
            if seen is not None:
                return seen
            found = known.find(recipient.domain)
            if found is None:
                return no(f"{recipient.domain} is none of {others}")
            return yes(f"{recipient.domain} is below {found}")

        return test
