"""What can be asked about a draft in the shadow of the live policy."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class ShadowStart(Ask, frozen=True, tag="shadow_start"):
    """Judge mail by these documents ({file name: TOML text}) as well; `share` of it, above 0 up to 1."""

    files: dict[str, str]
    share: float = 1.0
    note: str = ""
    what_if: bool = False


class ShadowShow(Ask, frozen=True, tag="shadow_show"):
    """What would have gone otherwise since the shadow was begun."""


class ShadowStop(Ask, frozen=True, tag="shadow_stop"):
    """End the shadow; what it found is forgotten."""

    what_if: bool = False


class ShadowPromote(Ask, frozen=True, tag="shadow_promote"):
    """Put the very draft in force and end the shadow.

    `expect` is the revision that must be in force; None: the one that was when the shadow was begun.
    """

    reason: str = ""
    expect: int | None = None
    what_if: bool = False
    discard_edits: bool = False
