"""To whom: conditions on the recipient (specification 1.15.4). They split the message."""

from __future__ import annotations

from pydantic import BaseModel, Field

from lockgate.mail.address import Address
from lockgate.policy.kinds import condition
from lockgate.policy.rules import Case, RecipientTest, Seen, no, yes
from lockgate.policy.spelling import DOCUMENT, DomainName
from lockgate.policy.tries import DomainMap


@condition("recipient_domain_is", "The recipient's domain is one of these, or below one", per_recipient=True)
class RecipientDomainIs(BaseModel):
    """Specification 1.15.2, C-4: subdomains are included; the primary address is looked at."""

    model_config = DOCUMENT

    domains: tuple[DomainName, ...] = Field(
        min_length=1, description="Domains; subdomains are included", examples=[["example.com"]]
    )

    def compile(self) -> RecipientTest:
        """The test for one recipient."""
        known = DomainMap((pattern, name) for name in self.domains for pattern in (name, f"*.{name}"))
        shown = ", ".join(self.domains[:3]) + (" and others" if len(self.domains) > 3 else "")

        def test(case: Case, recipient: Address) -> Seen:
            found = known.find(recipient.domain)
            if found is None:
                return no(f"{recipient.domain} is none of {shown}")
            return yes(f"{recipient.domain} is in {found}")

        return test

    def narrows(self) -> tuple[str, ...]:
        """Only recipients in or below these domains can match; the index of rules is made of it."""
        return self.domains
