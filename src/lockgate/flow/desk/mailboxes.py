"""Hosted mailboxes at the desk: which there are, and what lies in them; never a message itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.mailboxes import MailboxList, MailboxShow
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing, the_organisation
from lockgate.mail.address import AddressError, parse_address
from lockgate.mail.findings import Known
from lockgate.seams import Directory

_MOST = 100_000

Row = Mapping[str, Any]
"""organisation, address, messages, unseen, size, last_delivery and folder of one mailbox, ready for JSON."""


class MailboxDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about mailboxes of this machine.

    `census` gives the rows of one organisation ("": of all) up to a limit, `look` the row of one address, or None where
    nothing was ever delivered. Both are None where the operator's file has no [mailboxes] directory. They raise
    Unavailable. `organisations` names those of the policy in force, `directory` tells whose mailbox an alias is.
    """

    directory: Directory
    organisations: Callable[[], Sequence[str]]
    census: Callable[[str, int], Awaitable[Sequence[Row]]] | None
    look: Callable[[str, str], Awaitable[Row | None]] | None

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            MailboxList: Handler(Right.RECIPIENTS_VIEW, self.list),
            MailboxShow: Handler(Right.RECIPIENTS_VIEW, self.show),
        }

    async def list(self, request: MailboxList, caller: Caller) -> Answer:
        """The mailboxes that mail was delivered to."""
        if self.census is None:
            raise _none_here()
        if not 1 <= request.limit <= _MOST:
            raise Misuse(f"the limit is a number from 1 to {_MOST}")
        known = tuple(self.organisations())
        organisation = the_organisation(request.organisation, known) if request.organisation else ""
        return Answer(result=list(await self.census(organisation, request.limit)))

    async def show(self, request: MailboxShow, caller: Caller) -> Answer:
        """What lies in one mailbox."""
        if self.look is None:
            raise _none_here()
        try:
            address = parse_address(request.address, utf8=True)
        except AddressError as trouble:
            raise Misuse(f"'{request.address[:80]}': {trouble}") from None
        organisation = the_organisation(request.organisation, tuple(self.organisations()))
        found = self.directory.who_is(organisation, address.key)
        if isinstance(found, Known) and found.who is not None:
            address = found.who.primary
        row = await self.look(organisation, address.text)
        if row is None:
            raise Nothing(f"nothing was delivered to the mailbox {address.text} here yet")
        return Answer(result=dict(row))


def _none_here() -> Misuse:
    return Misuse("no mailboxes lie on this machine: the operator's file has no [mailboxes] directory")
