"""What the documents say that is sound, and yet hardly meant: what never acts, lets in too many, does too much.

Every finding says what and where, why it matters, and how to mend it. All is decided from the documents alone; what
DNS and files say besides is looked at by `check` and `plan` (app/checkup/around.py).
"""

from __future__ import annotations

from lockgate.policy.catalog import Catalog
from lockgate.policy.checks import Report
from lockgate.policy.documents import Documents
from lockgate.policy.linter.inbound import lint_own_servers, lint_partners
from lockgate.policy.linter.outbound import lint_outbound
from lockgate.policy.linter.rules import lint_rules


def lint(documents: Documents, catalog: Catalog, report: Report) -> None:
    """Advise on connectors and rules, if advice is wanted."""
    if not report.advise:
        return
    lint_own_servers(documents, report)
    lint_partners(documents, report)
    lint_outbound(documents, catalog, report)
    lint_rules(documents, catalog, report)
