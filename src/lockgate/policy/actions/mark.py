"""What others are to believe of the message: a spam level, a classification (specification 1.15.9).

Both are written into internal header fields (mail/internal_headers.py): what a stranger writes there is taken out at
our border, what an own server writes is believed, and copies for the outside world leave without them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from pydantic import Field, RootModel
from pydantic.types import StringConstraints

from lockgate.mail.header_edits import Change as What
from lockgate.mail.header_edits import HeaderEdit
from lockgate.mail.internal_headers import CLASSIFICATION, ORGANISATION, SCL
from lockgate.mail.ruling import Effects
from lockgate.policy.actions.header import Line, editing
from lockgate.policy.kinds import action
from lockgate.policy.rules import Change

Classification = Annotated[Line, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]
"""The name of a classification."""


@action("set_scl", "The copy gets this spam confidence level")
class SetScl(RootModel[int], frozen=True):
    """Specification 1.15.9: SetSCL; the last rule that sets it counts."""

    root: int = Field(
        ge=-1,
        le=9,
        description="-1: no spam filtering; 0 to 4: ordinary mail, 5 and 6: spam, 7 to 9: spam for certain.",
        examples=[-1],
    )

    def compile(self) -> Change:
        """For the content filter, later rules, mailboxes and own servers."""
        level, write = self.root, editing(HeaderEdit(What.SET, ORGANISATION + SCL, str(self.root)))

        def change(effects: Effects) -> Effects:
            after = write(effects)
            return after if after.scl == level else msgspec.structs.replace(after, scl=level)

        return change


@action("apply_classification", "The copy gets this classification")
class ApplyClassification(RootModel[Classification], frozen=True):
    """Specification 1.15.9: ApplyClassification; a message has one, and the last rule that applies one counts."""

    root: Classification = Field(description="Name of the classification.", examples=["Company Confidential"])

    def compile(self) -> Change:
        """For later rules, mailboxes and own servers."""
        name, write = self.root, editing(HeaderEdit(What.SET, ORGANISATION + CLASSIFICATION, self.root))

        def change(effects: Effects) -> Effects:
            after = write(effects)
            return after if after.classification == name else msgspec.structs.replace(after, classification=name)

        return change
