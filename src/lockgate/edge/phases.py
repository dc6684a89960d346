"""The phases of one connection, in the order in which it may pass through them."""

from __future__ import annotations

import enum


class Phase(enum.IntEnum):
    """What the connection is waiting for; each has its own deadline."""

    PROXY = 0
    HANDSHAKE = 1
    PAUSE = 2
    """Before the greeting."""
    TALK = 3
    LINGER = 4
    """All is said; the peer gets a moment to read it."""
    OVER = 5
