"""What a message is made of, as far as judging needs it: its parts, without their octets."""

from __future__ import annotations

import msgspec


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part: `kind` is its media type in lower case, `depth` how many parts it lies in, `size` its octets decoded.

    `names` are all file names that some mail program would read, `charset` its character set as written, and
    `last_charset` another one that some program would take. `attachment` tells that people see it as one, and not as
    text of the message.
    """

    kind: str
    depth: int
    size: int
    names: tuple[str, ...] = ()
    charset: str = ""
    attachment: bool = False
    last_charset: str = ""


class Structure(msgspec.Struct, frozen=True, tag="structure"):
    """All parts in the order in which they begin; `cut` tells that there were more, or more of what is said of them,
    than are looked at.
    """

    parts: tuple[Part, ...]
    cut: bool = False
