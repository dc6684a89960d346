"""How seldom the processes of Lockgate look for garbage: what is loaded stays, and mail makes no cycles."""

from __future__ import annotations

import gc


def search_seldom() -> None:
    """From now on: looking after every 700 objects takes a tenth of a command's start, and of every message."""
    gc.set_threshold(50_000, 20, 100)
