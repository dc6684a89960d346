"""What can be asked about mail flow rules at work."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class RuleStats(Ask, frozen=True, tag="rule_stats"):
    """Hits of the rules, or of the one with this name, as live mail made them."""

    name: str = ""
    organisation: str = ""
