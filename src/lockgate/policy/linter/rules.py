"""Mail flow rules that are sound, and yet hardly meant: they never match, match all, or ask for what is not done.

Specification 1.15. Contradictions and what rules do to each other are looked at next door.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lockgate.policy.catalog import EXCEPTION, Catalog
from lockgate.policy.checks import Report
from lockgate.policy.documents import Documents, Written
from lockgate.policy.groups import said_in, written_in
from lockgate.policy.kinds import is_left_out
from lockgate.policy.linter.contradictions import Contradictions
from lockgate.policy.linter.sequences import ENDS, lint_order, lint_redirects
from lockgate.policy.objects.connectors import OutboundConnector
from lockgate.policy.objects.organisation import Organisation
from lockgate.policy.objects.peers import Operator
from lockgate.policy.objects.rules import EXCEPT_IF_EITHER, MailFlowRule
from lockgate.policy.ordering import rules_in_order
from lockgate.policy.text import TextSet, pattern
from lockgate.policy.ties import accepted_by_organisation
from lockgate.policy.tries import DomainMap

_Rule = Written[MailFlowRule]
_Path = tuple[str | int, ...]

_TEXTS = ("a", "7", "ж", "-", " ", "?")
_ADDRESSES = ("a@b.de", "x1@q-7.example", "zz.y+t@sub.host.museum")
"""Texts and addresses that have nothing in common: an expression that matches all of them matches everything."""

_WHETHER_THERE = frozenset({"header_matches_patterns", "sender_ad_attribute_matches_patterns",
                            "recipient_ad_attribute_matches_patterns"})  # fmt: skip
"""With `.` or `.+` these ask whether the field or attribute is there at all; such expressions match no line end."""

_KEPT = (
    ("rule_sub_type", "none", "a rule of the sub type dlp is a rule like others here",
     "its policy tips and reports are not made"),
    ("use_legacy_regex", False, "expressions are always read as those of .NET here",
     "an expression in the old way of Exchange may match something else"),
    ("dlp_policy", "", "there are no DLP policies here", "what the policy adds to the rule is not done"),
)  # fmt: skip
"""Properties that are kept of rules from Exchange: key, the value that says nothing, what and why."""


def lint_rules(documents: Documents, catalog: Catalog, report: Report) -> None:
    """Everything about the rules of each organisation."""
    domains = accepted_by_organisation(documents.domains)
    own: dict[str, list[_Rule]] = {}
    for rule in documents.rules:
        own.setdefault(rule.value.organisation, []).append(rule)
    for organisation, rules in own.items():
        names = tuple(w.value.domain_name for w in documents.domains if w.value.organisation == organisation)
        looks = Contradictions(catalog, domains.get(organisation) or DomainMap(), names)
        acting: list[_Rule] = []
        for _, rule in rules_in_order(rules):
            _left_out(rule, catalog, report)
            if not rule.value.enabled:
                continue
            _expressions(rule, catalog, report)
            never = looks.never(rule, report)
            if rule.value.mode == "enforce" and not never and not rule.suspect:
                _everything(rule, catalog, report)
                acting.append(rule)
        lint_order(acting, catalog, report)
        lint_redirects(acting, catalog, report)
    _sizes(documents, catalog, report)


def _left_out(written: _Rule, catalog: Catalog, report: Report) -> None:
    """What is kept of a rule from Exchange, and not done here."""
    actions = [((key,), getattr(written.value, key)) for key in said_in(written.value) if key in catalog.actions]
    for path, value in (*actions, *written_in(written.value, catalog)):
        if is_left_out(value):
            message, why, mend = value.left_out()
            report.doubtful(written, (path,), message, why=why, mend=mend)
    for key, nothing, message, why in _KEPT:
        if getattr(written.value, key) != nothing:
            report.doubtful(written, (key,), message, why=why, mend="leave it away")


def _everything(written: _Rule, catalog: Catalog, report: Report) -> None:
    """No condition at all, and an action after which the message is not what it was."""
    rule = written.value
    key = next((key for key in ENDS if getattr(rule, key, None) is not None), "")
    if not key or rule.expiry_date is not None or any(True for _ in written_in(rule, catalog)):
        return
    done = {"reject_message": "refused", "quarantine": "held", "delete_message": "deleted"}.get(key, "redirected")
    report.doubtful(
        written,
        (key, *catalog.conditions),
        f"rule '{rule.name}' has no condition: every message that reaches it is {done}",
        why="all mail of the organisation, in and out, is meant, unless an earlier rule ends the rules",
        mend='say which messages are meant; mode = "audit" tells what it would do',
    )


# --- expressions ------------------------------------------------------------------------------------------------------


def _expressions(written: _Rule, catalog: Catalog, report: Report) -> None:
    """Expressions that match whatever they are given."""
    for path, value in written_in(written.value, catalog):
        key = str(path[-1])
        if not key.endswith("_matches_patterns"):
            continue
        texts = _ADDRESSES if key.endswith("_address_matches_patterns") else _TEXTS
        if key.removeprefix(EXCEPTION) in _WHETHER_THERE:
            texts = (*texts, "\n")
        for inner, expression in _patterns(value.model_dump(mode="json")):
            if _matches_all(expression, texts):
                report.doubtful(
                    written,
                    ((*path, *inner),),
                    f"'{expression[:80]}' matches everything",
                    why="it hits whenever there is something to look at; as an exception it cancels the rule",
                    mend="say more of what is meant, or leave the condition away",
                )


def _patterns(value: Any) -> Iterator[tuple[_Path, str]]:
    """The expressions of a condition with their places in it: a list, one in a table, or one for each attribute."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (((key, *path), text) for path, text in _patterns(inner) if key != "header")
    elif isinstance(value, list):
        yield from (((place,), text) for place, text in enumerate(value))


def _matches_all(expression: str, texts: tuple[str, ...]) -> bool:
    found = TextSet([pattern(expression)])
    return all(found.hits(text) for text in texts)


# --- sizes ------------------------------------------------------------------------------------------------------------


def _sizes(documents: Documents, catalog: Catalog, report: Report) -> None:
    """Conditions about sizes that no message has, because it is refused before or where the rule leads it."""
    operator = documents.operator.value if documents.operator is not None else Operator()
    most = operator.limits.message_size
    organisations = {written.value.name: written.value for written in documents.organisations}
    connectors = {(w.value.organisation, w.value.name): w.value for w in documents.outbound}
    for written in documents.rules:
        rule = written.value
        for path, least in written_in(rule, catalog) if rule.enabled else ():
            if path[-1] not in ("message_size_over", "attachment_size_over") or EXCEPT_IF_EITHER in path:
                continue
            beyond = _beyond(rule, least.root, most, organisations.get(rule.organisation))
            if beyond:
                _too_large(written, path, least.root, beyond, report)
                continue
            route = getattr(rule, "route_message_outbound_connector", None)
            connector = connectors.get((rule.organisation, route.root)) if route is not None else None
            if connector is not None and 0 < connector.size_limit < least.root:
                _not_taken(written, path, least.root, connector, report)


def _beyond(rule: MailFlowRule, least: int, most: int, organisation: Organisation | None) -> str:
    """The limit that such a message is beyond, in words; "" if there is none."""
    if least > most:
        return f"the operator allows {most} octets"
    limits = (organisation.max_receive_size, organisation.max_send_size) if organisation is not None else ()
    known = [limit for limit in limits if limit is not None]
    ends = any(getattr(rule, key, None) is not None for key in ENDS)  # what does not say its size comes so far
    if len(known) == 2 and least > max(known) and not ends:
        return f"the organisation allows {max(known)} octets"
    return ""


def _too_large(written: _Rule, path: _Path, least: int, beyond: str, report: Report) -> None:
    report.doubtful(
        written,
        (path, "organisation"),
        f"no message of {least} octets is ever taken: {beyond}",
        why="it is refused whatever the rule would do with it",
        mend="a smaller size, or a larger limit",
    )


def _not_taken(
    written: _Rule, path: _Path, least: int, connector: OutboundConnector, report: Report
) -> None:
    report.doubtful(
        written,
        (path, "route_message_outbound_connector", "organisation"),
        f"connector '{connector.name}' takes {connector.size_limit} octets at most, and the rule sends it messages of "
        f"{least} and more",
        why="every message that the rule leads there is refused",
        mend="a larger size_limit of the connector, or another connector",
    )
