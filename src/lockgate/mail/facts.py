"""All that is known of one message now. The time is a fact: the core has no clock."""

from __future__ import annotations

import enum

import msgspec

from lockgate.mail.connection import Connection
from lockgate.mail.envelope import Envelope
from lockgate.mail.findings import NOTHING_FOUND, Answer, Findings, Question
from lockgate.mail.message import Message
from lockgate.mail.recipient import RecipientId


class Point(enum.IntEnum):
    """Where the conversation stands; the fold of stages is cut there."""

    CONNECT = 0
    MAIL = 1
    RCPT = 2
    DATA = 3


class Facts(msgspec.Struct, frozen=True):
    """All that is known of one transaction.

    `at` is the time of judging in seconds since the epoch. `recipients` holds the recipients in the order in
    which they were named, the refused ones left out once refused. `message` is known from the end of DATA on.
    `before` counts recipients named before the first of these that were taken and are left out here: what is recorded
    of a refusal is about one recipient alone, and the limit on their number must still be explained. `excerpt` tells
    that recipients are left out here, so that nothing can be said of all of them but what was found out before.
    """

    at: float
    connection: Connection
    envelope: Envelope | None = None
    recipients: tuple[RecipientId, ...] = ()
    message: Message | None = None
    findings: Findings = NOTHING_FOUND
    before: int = 0
    excerpt: bool = False

    def learn(self, answers: dict[Question, Answer]) -> Facts:
        """These facts and what the world answered."""
        return Facts(
            self.at,
            self.connection,
            self.envelope,
            self.recipients,
            self.message,
            self.findings.learn(answers),
            self.before,
            self.excerpt,
        )
