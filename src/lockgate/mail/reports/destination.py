"""Where a report of ours goes, or why it does not go there."""

from __future__ import annotations

import msgspec


class Destination(msgspec.Struct, frozen=True):
    """An address that a domain names for its reports.

    `limit` are the octets it takes (0: any number); `refused` says why nothing is sent there ("" if it may be).
    """

    address: str
    limit: int = 0
    refused: str = ""
