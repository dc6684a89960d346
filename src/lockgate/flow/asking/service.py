"""What can be asked about the service itself."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class StatusAsk(Ask, frozen=True, tag="status"):
    """How the service is, and the last `alarms` alarms."""

    alarms: int = 10
