"""Blocks of own-server connectors (specification 1.3): who is blocked and why, and what was lifted."""

from __future__ import annotations

from typing import Any

import msgspec

from lockgate.mail.findings import Blocking


class Block(msgspec.Struct, frozen=True):
    """A connector that relays no more, until somebody lifts it. Times are seconds since the epoch.

    `suspected` tells that the service judged it compromised, for which `evidence` is what it saw (JSON-ready, by the
    name of the sign); `by` is the service or a person.
    """

    id: str
    organisation: str
    connector: str
    since: float
    because: str
    by: str
    suspected: bool = False
    evidence: dict[str, Any] = {}

    @property
    def answer(self) -> Blocking:
        """What the judge has to know of it."""
        return Blocking(self.id, self.since, self.because, self.by, self.suspected)


class Lifted(msgspec.Struct, frozen=True):
    """A block that is over: `at`, `by` whom and `because` of what. What was counted until then is no evidence again.

    `usual` tells that the server always sends so: then what was seen counts as its history.
    """

    block: Block
    at: float
    by: str
    because: str
    usual: bool = False


class BlockList(msgspec.Struct, frozen=True):
    """All blocks, and the lifted ones, the latest last."""

    blocks: tuple[Block, ...] = ()
    lifted: tuple[Lifted, ...] = ()

    def of(self, organisation: str, connector: str) -> Block | None:
        """The block of this connector, if it is blocked."""
        for block in self.blocks:
            if block.connector == connector and block.organisation == organisation:
                return block
        return None

    def lifted_at(self, organisation: str, connector: str) -> float:
        """When a block of this connector was last lifted; 0: never."""
        times = [one.at for one in self.lifted
                 if one.block.connector == connector and one.block.organisation == organisation]  # fmt: skip
        return max(times, default=0.0)
