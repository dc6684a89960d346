"""What can be asked about the policy."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class Reload(Ask, frozen=True, tag="reload"):
    """Read the policy documents again and put them in force; with `what_if` only check them."""

    what_if: bool = False
