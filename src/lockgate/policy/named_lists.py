"""Do rules name lists that there are, and of a kind that fits?"""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.policy.catalog import Catalog
from lockgate.policy.checks import Key, Report
from lockgate.policy.documents import Documents
from lockgate.policy.groups import written_in
from lockgate.policy.kinds import UsesLists
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.problems import nearest


def check_named_lists(documents: Documents, catalog: Catalog, report: Report) -> None:
    """Every list that a rule names is declared, and its kind fits the condition."""
    kinds = {(one.value.organisation, one.value.name): one.value.kind for one in documents.lists}
    suspect = {(one.value.organisation, one.value.name) for one in documents.lists if "kind" in one.suspect}
    for written in documents.rules:
        mine = written.value.organisation
        for path, uses in _uses(written.value, catalog):
            for number, name in enumerate(uses.lists()):
                keys: tuple[Key, ...] = ((*path, number), "organisation")
                kind = kinds.get((mine, name))
                if kind is None and not documents.may_hold("named_list", name):
                    near = nearest(name, [other for whose, other in kinds if whose == mine])
                    mend = near or "; declare it with [[named_list]], or `lockgate list declare`"
                    report.wrong(written, keys, f"there is no list '{name}'{mend}")
                elif kind is not None and kind not in uses.list_kinds and (mine, name) not in suspect:
                    fitting = " or ".join(one.value for one in uses.list_kinds)
                    report.wrong(written, keys, f"the list '{name}' is one of {kind.value}; {fitting} are needed here")


def lists_of(rule: MailFlowRule, catalog: Catalog) -> frozenset[str]:
    """The names of the lists that a rule looks into."""
    return frozenset(name for _, uses in _uses(rule, catalog) for name in uses.lists())


def uses_of(rule: MailFlowRule, catalog: Catalog) -> tuple[UsesLists, ...]:
    """The conditions and exceptions of a rule that look into lists."""
    return tuple(uses for _, uses in _uses(rule, catalog))


def _uses(rule: MailFlowRule, catalog: Catalog) -> Iterator[tuple[tuple[str | int, ...], UsesLists]]:
    """Those of groups of conditions too, each with the path of its key."""
    for path, value in written_in(rule, catalog):
        if isinstance(value, UsesLists):
            yield path, value
