"""What Exchange refuses to save; it holds for organisations that ask for it (amendments: compatibility)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lockgate.policy.checks import Report
from lockgate.policy.documents import Documents, Written
from lockgate.policy.networks import parse_networks
from lockgate.policy.objects.rules import ConditionGroup, MailFlowRule, groups_of

RULES = 300
"""Mail flow rules of an organisation (specification 1.15.11)."""

RULE_CHARACTERS = 8192
"""Characters of one mail flow rule, counted in its keys and values as JSON (specification 1.15.11)."""

EXPRESSION_OCTETS = 20 * 1024
"""Octets of all expressions and words of an organisation's rules together (specification 1.15.11)."""

DOMAINS = 900
"""Accepted domains of an organisation (specification 1.22)."""

REMOTE_DOMAINS = 200
"""Remote domains of an organisation (specification 1.5)."""

LIST_ENTRIES = 1273
"""Entries of an IP allow or block list (specification 1.8)."""

_SHORTEST_LIFE, _LONGEST_LIFE = 12 * 3600, 24 * 3600


def check_compatibility(documents: Documents, report: Report) -> None:
    """Exchange's limits, to the letter, where they are asked for; elsewhere those of rules are only told."""
    asked = {written.value.name for written in documents.organisations if written.value.exchange}
    _rules(documents.rules, asked, report)
    if not asked:
        return
    for organisation in documents.organisations:
        life = organisation.value.message_expiration
        if organisation.value.exchange and life is not None and not _SHORTEST_LIFE <= life <= _LONGEST_LIFE:
            report.wrong(organisation, ("message_expiration",), "in compatibility it must be from 12h to 24h")
    for inbound in documents.inbound:
        if inbound.value.organisation in asked:
            _entries(inbound, "sender_ip_addresses", report, ranges=False)
    for lists in documents.filters:
        if lists.value.organisation in asked:
            for key in ("ip_allow_list", "ip_block_list", "gateway_ip_addresses"):
                _entries(lists, key, report, ranges=True)
                if len(getattr(lists.value, key)) > LIST_ENTRIES:
                    report.wrong(lists, (key,), f"in compatibility the list holds at most {LIST_ENTRIES} entries")
    _counted(documents.domains, asked, DOMAINS, "accepted domains", report)
    _counted(documents.remote, asked, REMOTE_DOMAINS, "remote domains", report)


def _entries(written: Written[Any], key: str, report: Report, *, ranges: bool) -> None:
    """IPv4 only, /24 at widest; ranges only in lists, of at most 256 addresses (specification 1.1, 1.8)."""
    for index, entry in enumerate(getattr(written.value, key)):
        networks = parse_networks(entry)
        where = ((key, index), "organisation")
        if len(networks[0].packed) != 4 or ":" in entry:
            report.wrong(written, where, f"{entry} is IPv6; in compatibility only IPv4 is taken here")
        elif "-" in entry and not ranges:
            report.wrong(written, where, f"{entry} is a range; in compatibility write addresses or networks")
        elif "-" in entry and sum(1 << 32 - network.length for network in networks) > 256:
            report.wrong(
                written, where, f"{entry} has more than 256 addresses; in compatibility a range has at most that"
            )
        elif "-" not in entry and networks[0].length < 24:
            report.wrong(written, where, f"{entry} is wider than /24; in compatibility /24 to /32 is taken")


def _rules(rules: list[Written[MailFlowRule]], asked: set[str], report: Report) -> None:
    """Specification 1.15.11 and T-RULE-15: how many rules, how long one is, how much all of them look for."""
    counts: dict[str, int] = {}
    octets: dict[str, int] = {}
    for written in rules:
        organisation = written.value.organisation
        if organisation not in asked and not report.advise:
            continue
        counts[organisation] = counts.get(organisation, 0) + 1
        if organisation in asked:
            for key in dict.fromkeys(key for key, _, _ in groups_of(written.value)):
                report.wrong(written, (key,), "in compatibility conditions stand in no groups, for Exchange has none; "
                             "write a rule for each group")  # fmt: skip
        if counts[organisation] == RULES + 1:
            _beyond(written, asked, report, f"an organisation has at most {RULES} mail flow rules",
                    "merge rules that do the same; values of one condition are alternatives")  # fmt: skip
        size = len(written.value.model_dump_json(exclude_defaults=True, exclude={"organisation"}))
        if size > RULE_CHARACTERS:
            _beyond(written, asked, report,
                    f"the rule has {size} characters, and the maximum number of characters is {RULE_CHARACTERS}",
                    "split the rule, or name a group instead of many addresses")  # fmt: skip
        before = octets.get(organisation, 0)
        octets[organisation] = before + sum(len(text.encode()) for text in _looked_for(written.value))
        if before <= EXPRESSION_OCTETS < octets[organisation]:
            _beyond(written, asked, report,
                    "the expressions and words of all rules together have at most 20 KB, and with this rule they have "
                    f"{octets[organisation]} octets", "write fewer or shorter expressions")  # fmt: skip


def _beyond(written: Written[MailFlowRule], asked: set[str], report: Report, message: str, mend: str) -> None:
    """Refused in compatibility, reported otherwise (T-RULE-15)."""
    if written.value.organisation in asked:
        report.wrong(written, (), f"in compatibility {message}")
    else:
        why = "it works here, but Exchange refuses to save it: these rules cannot be taken there"
        report.doubtful(written, ("name",), f"in Exchange {message}", why=why, mend=mend)


def _looked_for(rule: MailFlowRule | ConditionGroup) -> Iterator[str]:
    """Every word and expression of conditions and exceptions, those in groups too."""
    for _, _, group in groups_of(rule):
        yield from _looked_for(group)
    for key in rule.model_fields_set:
        value = getattr(rule, key) if key.endswith(("_words", "_patterns")) else None
        if value is None:
            continue
        held = getattr(value, "root", value)
        if isinstance(held, dict):
            for texts in held.values():
                yield from texts
        elif isinstance(held, tuple):
            yield from held
        else:
            yield from getattr(held, "words", ()) or getattr(held, "patterns", ())


def _counted(objects: list[Written[Any]], asked: set[str], most: int, what: str, report: Report) -> None:
    counts: dict[str, int] = {}
    for written in objects:
        organisation = written.value.organisation
        counts[organisation] = counts.get(organisation, 0) + 1
        if organisation in asked and counts[organisation] == most + 1:
            report.wrong(written, (), f"in compatibility an organisation has at most {most} {what}")
