"""Blocked connectors in memory."""

from __future__ import annotations

from collections.abc import Callable

from lockgate.mail.blocks import BlockList
from lockgate.mail.findings import NOT_BLOCKED, Blocking, Unknown


class MemoryBlocks:
    """Implements seams.Blocks; while `broken` is not empty nothing can be found out, for that reason."""

    def __init__(self, *, broken: str = "") -> None:
        self.list = BlockList()
        self.broken = broken

    def state(self, organisation: str, connector: str) -> Blocking | Unknown:
        """See Blocks."""
        if self.broken:
            return Unknown(self.broken)
        block = self.list.of(organisation, connector)
        return block.answer if block is not None else NOT_BLOCKED

    def listed(self) -> BlockList:
        """See Blocks."""
        if self.broken:
            raise OSError(self.broken)
        return self.list

    def change(self, edit: Callable[[BlockList], BlockList]) -> BlockList:
        """See Blocks."""
        self.list = edit(self.listed())
        return self.list
