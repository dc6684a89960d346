"""Which own-server connectors are blocked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lockgate.mail.blocks import BlockList
from lockgate.mail.findings import Blocking, Unknown


class Blocks(Protocol):
    """The blocked connectors of this installation. Kept by storage/blocks.py, faked by testing/blocks.py.

    Every process reads; one process changes. What is changed is seen by all of them at the next question.
    """

    def state(self, organisation: str, connector: str) -> Blocking | Unknown:
        """Whether this connector is blocked; Unknown when it cannot be found out. Quick, and never raises."""

    def listed(self) -> BlockList:
        """All blocks, and the lifted ones. Raises OSError when they cannot be read."""

    def change(self, edit: Callable[[BlockList], BlockList]) -> BlockList:
        """Put what `edit` makes of the list in its place, durable when this returns. Raises OSError."""
