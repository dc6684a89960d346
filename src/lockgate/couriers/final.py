"""What final delivery changes in a message: the reverse path is written by whoever delivers, and by nobody before."""

from __future__ import annotations

import re

_RETURN_PATH = re.compile(rb"(?im)^return-path[ \t]*:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n")


def without_return_path(content: bytes) -> bytes:
    """The message without any Return-Path in its header (RFC 5321 4.4: the one of final delivery is the only one)."""
    end = content.find(b"\r\n\r\n")
    head = content if end < 0 else content[: end + 2]
    if b"return-path" not in head.lower():
        return content
    return _RETURN_PATH.sub(b"", head) + content[len(head) :]
