"""Looking a next hop over, and remembering what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lockgate.mail.envelope import Envelope
from lockgate.mail.hop import NextHop
from lockgate.mail.validation import Validation, ValidationStep


class Examiner(Protocol):
    """Opens a session to every server of a next hop as delivery would, and tells. Kept by couriers/validate.py."""

    async def examine(
        self, hop: NextHop, envelope: Envelope, recipients: Sequence[str], size: int
    ) -> tuple[ValidationStep, ...]:
        """The steps from resolving to the answer to RCPT, for every server; no content is sent. Never raises.

        `size` is that of the message that would follow, in octets.
        """


class Validations(Protocol):
    """The last validation of each connector. Kept by storage/validations.py, synchronous: it reads a small file."""

    def put(self, validation: Validation) -> None:
        """Keep it in the place of the connector's earlier one, durable when this returns. Raises OSError."""

    def last(self, organisation: str, connector: str) -> Validation | None:
        """The last one of this connector; None if there is none, or what is kept cannot be read."""
