"""An examiner that says what it was told to say, and validations kept in memory."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.mail.envelope import Envelope
from lockgate.mail.hop import NextHop
from lockgate.mail.validation import Validation, ValidationStep


class ListedExaminer:
    """A seams.Examiner that tells these steps; `examined` lists what it was asked about."""

    def __init__(self, steps: Sequence[ValidationStep] = ()) -> None:
        self.steps = tuple(steps)
        self.examined: list[tuple[NextHop, Envelope, tuple[str, ...]]] = []

    async def examine(
        self, hop: NextHop, envelope: Envelope, recipients: Sequence[str], size: int
    ) -> tuple[ValidationStep, ...]:
        """See Examiner."""
        self.examined.append((hop, envelope, tuple(recipients)))
        return self.steps


class MemoryValidations:
    """A seams.Validations that ends with the process."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Validation] = {}

    def put(self, validation: Validation) -> None:
        """See Validations."""
        self.kept[validation.organisation, validation.connector] = validation

    def last(self, organisation: str, connector: str) -> Validation | None:
        """See Validations."""
        return self.kept.get((organisation, connector))
