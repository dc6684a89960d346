"""The SMTP state table, nothing else: which command may come when, and what is said if it comes at another time.

RFC 5321 4.1.4 (order of commands), RFC 3030 2 (DATA and BDAT do not mix), RFC 3207 4 (STARTTLS).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from lockgate.mail import replies
from lockgate.mail.reply import Reply


class State(enum.IntEnum):
    """Where a session stands."""

    NEW = 0
    """Nobody has said HELO or EHLO, or TLS has just begun."""
    GREETED = 1
    SENDER = 2
    """MAIL was accepted."""
    RECIPIENTS = 3
    """At least one RCPT was accepted."""
    CHUNKS = 4
    """At least one BDAT was accepted and the last is still to come."""


OUT_OF_ORDER: Mapping[bytes, Mapping[int, Reply]] = {
    b"MAIL": {
        State.NEW: replies.HELLO_FIRST,
        State.SENDER: replies.MAIL_TWICE,
        State.RECIPIENTS: replies.MAIL_TWICE,
        State.CHUNKS: replies.MAIL_TWICE,
    },
    b"RCPT": {
        State.NEW: replies.HELLO_FIRST,
        State.GREETED: replies.MAIL_FIRST,
        State.CHUNKS: replies.BAD_SEQUENCE,
    },
    b"DATA": {
        State.NEW: replies.HELLO_FIRST,
        State.GREETED: replies.MAIL_FIRST,
        State.SENDER: replies.NO_RECIPIENTS,
        State.CHUNKS: replies.BAD_SEQUENCE,
    },
    b"BDAT": {
        State.NEW: replies.HELLO_FIRST,
        State.GREETED: replies.MAIL_FIRST,
        State.SENDER: replies.NO_RECIPIENTS,
    },
    b"STARTTLS": {
        State.NEW: replies.HELLO_FIRST,
        State.SENDER: replies.BAD_SEQUENCE,
        State.RECIPIENTS: replies.BAD_SEQUENCE,
        State.CHUNKS: replies.BAD_SEQUENCE,
    },
}
"""Refusals by command and state; a command or state that is not here may come."""
