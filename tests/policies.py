"""Policies for tests, in one line: TOML text on top of one organisation with one domain."""

from __future__ import annotations

from lockgate.policy.compile import compile_policy
from lockgate.policy.policy import Policy
from lockgate.policy.problems import Invalid, Problem

CONTOSO = """\
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
"""
"""Five lines; what a test adds begins on line 6."""


def policy(text: str = "", *, above: str = CONTOSO, hostname: str = "mx.lockgate.test") -> Policy:
    """The policy of the text below `above`."""
    return compile_policy({"policy.toml": above + text}, hostname=hostname, revision=1)


def problems(text: str = "", *, above: str = CONTOSO) -> tuple[Problem, ...]:
    """What is wrong with it; () if nothing is."""
    try:
        policy(text, above=above)
    except Invalid as trouble:
        return trouble.problems
    return ()


def warned(text: str = "", *, above: str = CONTOSO) -> list[str]:
    """The paths of the warnings, the unproven and unused left as they are."""
    return [problem.path for problem in policy(text, above=above).warnings]
