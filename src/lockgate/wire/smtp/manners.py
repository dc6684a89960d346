"""How a listener talks: its name, its limits and what it offers, worked out once for all its sessions."""

from __future__ import annotations

import msgspec

from lockgate.mail import replies
from lockgate.wire.smtp.data import Limits


class Manners(msgspec.Struct, frozen=True):
    """How a listener talks: made once by `manners`, shared by all its sessions."""

    hostname: str
    limits: Limits
    starttls: bool
    max_errors: int
    max_refusals: int
    max_idle_commands: int
    max_recipients: int
    hello: bytes
    extended_clear: bytes
    extended_secured: bytes


def manners(
    hostname: str,
    *,
    size_limit: int,
    starttls: bool,
    normalise: bool = False,
    line_limit: int = 0,
    max_errors: int = 20,
    max_refusals: int = 200,
    max_idle_commands: int = 100,
    max_recipients: int = 10_000,
) -> Manners:
    """The manners of one listener; `line_limit` 0 takes text lines of any length."""
    always = ("PIPELINING", f"SIZE {size_limit}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING")
    clear = (*always, "STARTTLS") if starttls else always
    return Manners(
        hostname,
        Limits(size_limit, line=line_limit, normalise=normalise),
        starttls,
        max_errors,
        max_refusals,
        max_idle_commands,
        max_recipients,
        replies.hello(hostname).wire(),
        replies.extended_hello(hostname, clear),
        replies.extended_hello(hostname, (*always, "REQUIRETLS")),
    )
