"""Recipients at the desk: import a list, find one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.recipients import RecipientFind, RecipientImport
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing, the_organisation
from lockgate.flow.recipients import Entry, read_recipients
from lockgate.mail.address import AddressError, parse_address
from lockgate.mail.findings import Unknown
from lockgate.seams import Audit, Directory, Unavailable


class RecipientDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about recipients.

    `store` puts an organisation's recipients in the place of the earlier ones and returns the directory's revision;
    `organisations` names those of the policy in force.
    """

    directory: Directory
    audit: Audit
    store: Callable[[str, Sequence[Entry]], Awaitable[int]]
    organisations: Callable[[], Sequence[str]]

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            RecipientImport: Handler(Right.RECIPIENTS, self.import_),
            RecipientFind: Handler(Right.RECIPIENTS_VIEW, self.find),
        }

    async def import_(self, request: RecipientImport, caller: Caller) -> Answer:
        """Put the recipients of a file in the place of all that the organisation has."""
        organisation = the_organisation(request.organisation, tuple(self.organisations()))
        entries = read_recipients(request.text, request.form, request.name, organisation)
        counts = {
            "organisation": organisation,
            "recipients": len(entries),
            "addresses": sum(len(entry.addresses) for entry in entries),
            "what_if": request.what_if,
        }
        if not entries:
            raise Misuse("the file holds no recipients; an empty directory would refuse all mail")
        if request.what_if:
            return Answer(result=counts)
        revision = await self.store(organisation, entries)
        told = {"organisation": organisation, "count": len(entries), "revision": revision}
        self.audit.wrote(caller.name, "recipient import", **told)
        return Answer(result={**counts, "revision": revision})

    async def find(self, request: RecipientFind, caller: Caller) -> Answer:
        """Who has this address, as the edge would find it."""
        try:
            parsed = parse_address(request.address, utf8=True)
        except AddressError as trouble:
            raise Misuse(f"'{request.address[:80]}': {trouble}") from None
        organisation = the_organisation(request.organisation, tuple(self.organisations()))
        found = self.directory.who_is(organisation, parsed.key)
        if isinstance(found, Unknown):
            raise Unavailable(found.why)
        who = found.who
        if who is None:
            raise Nothing(f"nobody has the address {parsed.text} (directory revision {found.revision})")
        return Answer(
            result={
                "organisation": who.organisation,
                "kind": who.kind.value,
                "address": who.primary.text,
                "external_address": who.external.text if who.external else "",
                "attributes": who.attributes,
                "revision": found.revision,
            }
        )
