"""The policy at the desk: check and put in force."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.policies import Reload
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler
from lockgate.seams import Audit


class PolicyDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about the policy.

    `check` compiles the policy documents without using them and `reload` puts them in force; both return what is to be
    said of the result (revision, digest, ...) and raise Invalid.
    """

    audit: Audit
    check: Callable[[], Awaitable[Mapping[str, Any]]]
    reload: Callable[[], Awaitable[Mapping[str, Any]]]

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {Reload: Handler(Right.ORGANISATION, self.take_up)}

    async def take_up(self, request: Reload, caller: Caller) -> Answer:
        """Read the documents again; with `what_if` only check them."""
        said = dict(await (self.check() if request.what_if else self.reload()))
        if not request.what_if:
            self.audit.wrote(caller.name, "reload", **said)
        return Answer(result={**said, "what_if": request.what_if})
