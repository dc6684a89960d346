"""The service itself at the desk: how it is, and the last alarms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.service import StatusAsk
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler

MOST_ALARMS = 200


class ServiceDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about the service.

    `status` gives facts of the running service (JSON-ready; must not raise), `alarms` the last alarms, newest last.
    """

    status: Callable[[], Awaitable[Mapping[str, Any]]]
    alarms: Callable[[int], Sequence[Mapping[str, Any]]]

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {StatusAsk: Handler(Right.SERVICE_VIEW, self.tell)}

    async def tell(self, request: StatusAsk, caller: Caller) -> Answer:
        """How the service is."""
        alarms = list(self.alarms(max(0, min(request.alarms, MOST_ALARMS))))
        return Answer(result={**await self.status(), "alarms": alarms})
