"""Mail flow rules that time or the directory has overtaken: over, about groups that nobody has, or about an alias."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lockgate.mail.findings import Known, RecipientKind
from lockgate.policy.catalog import standard
from lockgate.policy.checks import Report
from lockgate.policy.compile import Understood
from lockgate.policy.documents import Written
from lockgate.policy.groups import written_in
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.seams import Directory


def look_at_rules(understood: Understood, directory: Directory | None, report: Report, now: float) -> None:
    """The findings about rules that are enabled; what the directory cannot say now is none."""
    for written in understood.documents.rules:
        rule = written.value
        if not rule.enabled:
            continue
        if rule.expiry_date is not None and rule.expiry_date.timestamp() <= now:
            report.doubtful(
                written,
                ("expiry_date",),
                f"the time of rule '{rule.name}' is over since {rule.expiry_date.isoformat()}",
                why="it is kept and does nothing",
                mend=f"another expiry_date, or `lockgate rule remove '{rule.name}'`",
            )
        elif directory is not None:
            _groups(written, directory, report)
            _aliases(written, directory, report)


def _groups(written: Written[MailFlowRule], directory: Directory, report: Report) -> None:
    for path, value in written_in(written.value, standard()):
        if not str(path[-1]).endswith("_member_of"):
            continue
        for inner, group in _named(value.model_dump(mode="json")):
            found = directory.who_is(written.value.organisation, group.casefold())
            if not isinstance(found, Known) or (found.who is not None and found.who.kind is RecipientKind.GROUP):
                continue
            what = f"{group} is a {found.who.kind} and no group" if found.who is not None else f"no group is {group}"
            report.doubtful(
                written,
                ((*path, *inner), "organisation"),
                f"{what}, so nobody belongs to it",
                why="as a condition it keeps the rule from matching, as an exception it spares nobody",
                mend="the address of a group of the directory: `lockgate group list` shows them",
            )


def _aliases(written: Written[MailFlowRule], directory: Directory, report: Report) -> None:
    """Recipients are compared by their primary address, so another one of theirs is nobody's (specification 1.15.4)."""
    rule = written.value
    if rule.recipient_address_type == "original":
        return
    for path, value in written_in(rule, standard()):
        if not str(path[-1]).endswith("sent_to"):
            continue
        for inner, text in _named(value.model_dump(mode="json")):
            found = directory.who_is(rule.organisation, text.casefold())
            who = found.who if isinstance(found, Known) else None
            if who is not None and who.primary.key != text.casefold():
                report.doubtful(
                    written,
                    ((*path, *inner), "recipient_address_type", "organisation"),
                    f"{text} is another address of {who.primary}, and the primary address counts",
                    why="no recipient is ever found by it: as a condition it keeps the rule from matching, as an"
                    " exception it spares nobody",
                    mend=f'"{who.primary}" in its place, or recipient_address_type = "original" if mail to that very'
                    " address is meant",
                )


def _named(value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The groups that a condition names, with their places in it: a list, or two in a table."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (((key, *path), text) for path, text in _named(inner))
    elif isinstance(value, list):
        yield from (((place,), text) for place, text in enumerate(value))
