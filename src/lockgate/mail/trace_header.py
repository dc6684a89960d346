"""The trace header fields that RFC 5321 4.4 demands of everybody who takes responsibility for a message."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache

from lockgate.mail.connection import Connection
from lockgate.mail.envelope import Envelope
from lockgate.mail.headers import HOP_FIELD
from lockgate.mail.recipient import RecipientId

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_UNSAFE = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def mail_date(at: float) -> str:
    """Seconds since the epoch as RFC 5322 3.3 writes it, in UTC, in English whatever the locale."""
    return _date_of_second(int(at))


@lru_cache(maxsize=64)
def _date_of_second(at: int) -> str:
    t = dt.datetime.fromtimestamp(at, dt.UTC)
    return f"{_DAYS[t.weekday()]}, {t.day} {_MONTHS[t.month - 1]} {t.year} {t:%H:%M:%S} +0000"


def protocol(connection: Connection, envelope: Envelope) -> str:
    """The `with` clause (RFC 3848, RFC 6531 4.3)."""
    if not connection.extended:
        return "SMTP"
    name = "UTF8SMTP" if envelope.utf8 else "ESMTP"
    return name + ("S" if connection.tls else "") + ("A" if connection.login else "")


def received_prefix(
    connection: Connection,
    envelope: Envelope,
    recipients: tuple[RecipientId, ...],
    *,
    hostname: str,
    installation: str,
    network_id: str,
    at: float,
) -> bytes:
    """Our Received field and our pass mark, CRLF-terminated. Whatever the peer said is reduced to safe characters."""
    peer = f"IPv6:{connection.peer}" if ":" in connection.peer else connection.peer
    lines = [f"Received: from {_atom(connection.helo)} ([{_atom(peer)}])"]
    if connection.tls is not None:
        lines.append(f"\t(using {_atom(connection.tls.version)} with cipher {_atom(connection.tls.cipher)})")
    lines.append(f"\tby {hostname} (Lockgate) with {protocol(connection, envelope)} id {network_id}")
    only = recipients[0].original.text if len(recipients) == 1 else ""
    if only and len(only) < 200 and only.isprintable() and (only.isascii() or envelope.utf8):
        lines.append(f"\tfor <{only}>")
    text = "\r\n".join(lines) + f";\r\n\t{mail_date(at)}\r\n{HOP_FIELD}: {installation}; {network_id}\r\n"
    return text.encode()


def _atom(text: str) -> str:
    """Peer-supplied text without blanks, comments or anything that could end a token or a line."""
    return _UNSAFE.sub("?", text[:255]) or "unknown"
