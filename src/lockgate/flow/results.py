"""The first finish of a departing copy: fields in our name that others wrote go, and our results come on top.

RFC 8601 5. Ours stands above our own Received field, as the newest thing that was said about the message; the seal and
the signature that come after it stand above it and are over it.
"""

from __future__ import annotations

from lockgate.mail.authentication_results import claims_to_be, field, is_ours_by_name
from lockgate.mail.task import Assigned
from lockgate.policy.policy import Policy

_BLANKS = (b" ", b"\t")


async def put_results(policy: Policy, task: Assigned, content: bytes) -> bytes:
    """The message with our results, and nobody else's in our name. A departure.Finish."""
    stamp = task.stamp
    if stamp.foreign:
        content = without_foreign(content, policy.hostname)
    return field(stamp.results) + content if stamp.results else content


def without_foreign(content: bytes, name: str) -> bytes:
    """The message without header fields that claim to be ours (`name`); the body is not looked at. Linear.

    A field goes with all its folded lines, and no octet of any other line changes.
    """
    if content.startswith(b"\r\n"):
        return content
    empty = content.find(b"\r\n\r\n")
    end = len(content) if empty < 0 else empty + 2
    lines = content[:end].split(b"\r\n")
    kept: list[bytes] = []
    first = 0
    while first < len(lines):
        last = first + 1
        while last < len(lines) and lines[last].startswith(_BLANKS):
            last += 1
        if not _is_foreign(lines[first:last], name):
            kept += lines[first:last]
        first = last
    return b"\r\n".join(kept) + content[end:]


def _is_foreign(lines: list[bytes], name: str) -> bool:
    kind, colon, value = lines[0].partition(b":")
    kind = kind.strip(b" \t\0").lower()
    if not colon:
        return False
    if is_ours_by_name(kind.decode("latin-1")):
        return True
    return kind == b"authentication-results" and claims_to_be(b"\r\n".join([value, *lines[1:]]), name)
