"""What can be asked about alerts."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class AlertList(Ask, frozen=True, tag="alert_list"):
    """What is wrong now; with `over` also what was."""

    over: bool = False


class AlertAck(Ask, frozen=True, tag="alert_ack"):
    """Somebody looks after these alerts (ids; none means all that are active): they are not told again."""

    ids: tuple[str, ...] = ()
    what_if: bool = False
