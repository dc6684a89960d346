"""What a delivery attempt came to, per recipient."""

from __future__ import annotations

import enum

import msgspec

from lockgate.mail import replies
from lockgate.mail.reply import Reply


class Fate(enum.StrEnum):
    """How one recipient fared in one attempt."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    FAILED = "failed"


class Outcome(msgspec.Struct, frozen=True):
    """One recipient in one attempt. `recipient` is the index within the task's recipients.

    `reply` is the next hop's reply, or one of ours that says what went wrong. `host` is "name[address]:port" of
    the server that answered ("" when none was reached), `tls` its protocol and cipher ("" for plain text).
    `dsn` tells that the next hop offers DSN, so that success is reported by it and not by us (RFC 3461 5.2.2).
    `final` tells that the recipient's mailbox has it: nobody carries it any further (RFC 3464 2.3.3 "delivered").
    `last` is there where we gave up (`reply` says so): the reply that the recipient had last. `spoken` tells that the
    last reply is what that server said, and not our word about it.
    """

    recipient: int
    fate: Fate
    reply: Reply
    host: str = ""
    tls: str = ""
    dsn: bool = False
    final: bool = False
    spoken: bool = False
    last: Reply | None = None

    @property
    def words(self) -> str:
        """All that was replied, in one line."""
        return str(self.reply) if self.last is None else replies.clean(f"{self.reply}; last answer: {self.last}")

    def given_up(self) -> Outcome:
        """What becomes of a recipient that waits when the life of the message is over."""
        return msgspec.structs.replace(self, fate=Fate.FAILED, reply=replies.EXPIRED, last=self.reply)
