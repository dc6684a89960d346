"""The secret of a login, read from its reference at the moment it is needed."""

from __future__ import annotations

import os
from pathlib import Path


def read_secret(reference: str) -> str:
    """The secret that "file:PATH" or "env:NAME" refers to. Raises ValueError; the message never holds the secret."""
    kind, _, place = reference.partition(":")
    match kind:
        case "file":
            try:
                secret = Path(place).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError):
                raise ValueError(f"the file {place} cannot be read") from None
        case "env":
            secret = os.environ.get(place, "")
        case _:
            raise ValueError("the reference is neither file: nor env:")
    if not secret or "\0" in secret:
        raise ValueError(f"{kind}:{place} holds no secret")
    return secret
