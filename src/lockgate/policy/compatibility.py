"""What Exchange refuses to save; it holds for organisations that ask for it (amendments: compatibility)."""

from __future__ import annotations

from typing import Any

from lockgate.policy.checks import Report
from lockgate.policy.documents import Documents, Written
from lockgate.policy.networks import parse_networks

RULES = 300
"""Mail flow rules of an organisation (specification 1.15.11)."""

DOMAINS = 900
"""Accepted domains of an organisation (specification 1.22)."""

REMOTE_DOMAINS = 200
"""Remote domains of an organisation (specification 1.5)."""

LIST_ENTRIES = 1273
"""Entries of an IP allow or block list (specification 1.8)."""

_SHORTEST_LIFE, _LONGEST_LIFE = 12 * 3600, 24 * 3600


def check_compatibility(documents: Documents, report: Report) -> None:
    """Exchange's limits, to the letter, where they are asked for."""
    asked = {written.value.name for written in documents.organisations if written.value.exchange}
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
    _counted(documents.rules, asked, RULES, "mail flow rules", report)
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


def _counted(objects: list[Written[Any]], asked: set[str], most: int, what: str, report: Report) -> None:
    counts: dict[str, int] = {}
    for written in objects:
        organisation = written.value.organisation
        counts[organisation] = counts.get(organisation, 0) + 1
        if organisation in asked and counts[organisation] == most + 1:
            report.wrong(written, (), f"in compatibility an organisation has at most {most} {what}")
