"""Who may do what at the desk: rights, and the role groups that bundle them (specification 1.25)."""

from __future__ import annotations

import enum
from types import MappingProxyType

import msgspec


class Right(enum.StrEnum):
    """One thing a caller may do. Whoever may change something may also see it."""

    SERVICE_VIEW = "service_view"
    """See how the service is."""
    POLICY_VIEW = "policy_view"
    """See documents, revisions and what would happen."""
    ORGANISATION = "organisation"
    """Change anything in the policy, roll back."""
    DOMAINS_AND_CONNECTORS = "domains_and_connectors"
    """Change accepted domains, remote domains and connectors."""
    HYGIENE = "hygiene"
    """Change connection filters and the other protection policies."""
    RULES = "rules"
    """Change mail flow rules, and which named lists there are."""
    LISTS_VIEW = "lists_view"
    """See what is on named lists."""
    LISTS = "lists"
    """Change what is on named lists."""
    RECIPIENTS_VIEW = "recipients_view"
    """See recipients and the message trace."""
    RECIPIENTS = "recipients"
    """Change recipients."""
    QUEUE_VIEW = "queue_view"
    """See waiting messages."""
    QUEUE = "queue"
    """Retry, hold, release and delete waiting messages."""
    HELD_VIEW = "held_view"
    """See held messages."""
    HELD = "held"
    """Release and delete held messages."""
    REPORTS_VIEW = "reports_view"
    """See DMARC and TLS reports."""
    REPORTS = "reports"
    """Import reports, and send our own."""
    ALERTS = "alerts"
    """Take alerts."""
    AUDIT = "audit"
    """Search the audit."""
    BACKUP = "backup"
    """Make a backup, which holds everything."""


EVERYTHING = frozenset(Right)
_VIEW = frozenset(
    {
        Right.SERVICE_VIEW,
        Right.POLICY_VIEW,
        Right.LISTS_VIEW,
        Right.RECIPIENTS_VIEW,
        Right.QUEUE_VIEW,
        Right.HELD_VIEW,
        Right.REPORTS_VIEW,
    }
)

ROLE_GROUPS = MappingProxyType(
    {
        "OrganizationManagement": EVERYTHING,
        "MailFlowAdministrator": frozenset(
            {
                Right.SERVICE_VIEW,
                Right.POLICY_VIEW,
                Right.DOMAINS_AND_CONNECTORS,
                Right.RECIPIENTS_VIEW,
                Right.QUEUE_VIEW,
                Right.QUEUE,
                Right.REPORTS_VIEW,
                Right.ALERTS,
            }
        ),
        "HygieneManagement": frozenset(
            {Right.SERVICE_VIEW, Right.POLICY_VIEW, Right.HYGIENE, Right.REPORTS_VIEW, Right.REPORTS}
        ),
        "SecurityAdministrator": frozenset(
            {
                Right.SERVICE_VIEW,
                Right.POLICY_VIEW,
                Right.HYGIENE,
                Right.HELD_VIEW,
                Right.HELD,
                Right.REPORTS_VIEW,
                Right.REPORTS,
            }
        ),
        "SecurityReader": frozenset({Right.SERVICE_VIEW, Right.POLICY_VIEW, Right.HELD_VIEW, Right.REPORTS_VIEW}),
        "QuarantineAdministrator": frozenset({Right.HELD_VIEW, Right.HELD}),
        "RecipientManagement": frozenset({Right.SERVICE_VIEW, Right.RECIPIENTS_VIEW, Right.RECIPIENTS}),
        "RecordsManagement": frozenset(
            {
                Right.SERVICE_VIEW,
                Right.POLICY_VIEW,
                Right.RULES,
                Right.LISTS_VIEW,
                Right.LISTS,
                Right.RECIPIENTS_VIEW,
            }
        ),
        "ComplianceManagement": frozenset(
            {Right.SERVICE_VIEW, Right.POLICY_VIEW, Right.LISTS_VIEW, Right.RECIPIENTS_VIEW, Right.AUDIT}
        ),
        "ListManagement": frozenset({Right.SERVICE_VIEW, Right.LISTS_VIEW, Right.LISTS}),
        "HelpDesk": frozenset({Right.RECIPIENTS_VIEW, Right.RECIPIENTS}),
        "ViewOnlyOrganizationManagement": _VIEW,
    }
)
"""Exchange's role groups and what their members may do here; ListManagement is ours."""


class Caller(msgspec.Struct, frozen=True):
    """Who asks: `name` ("uid account") goes into audit rows, `rights` decide what is done."""

    name: str
    rights: frozenset[Right] = EVERYTHING
