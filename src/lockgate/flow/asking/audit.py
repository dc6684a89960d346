"""What can be asked about who changed what."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class AuditFind(Ask, frozen=True, tag="audit_find"):
    """Changes and refused attempts, newest first; `since` and `until` as in the trace.

    `who`, `what` and `object` are parts of what the row says; `refused` asks for refused attempts only.
    """

    who: str = ""
    what: str = ""
    object: str = ""
    since: str = ""
    until: str = ""
    refused: bool = False
    limit: int = 100
