"""Does a certificate bear the name that an administrator configured? (amendments: certificate names)

One rule for both directions: inbound connectors (`tls_sender_certificate_name`) and outbound `tls_domain`.
"""

from __future__ import annotations

from collections.abc import Iterable


def name_covered(configured: str, names: Iterable[str]) -> str | None:
    """The first of the certificate's `names` that satisfies `configured`, or None.

    Both are A-labels in lower case without trailing dot. A configured `*.x` covers x and every name below it, at any
    depth; a wildcard inside the certificate stands for exactly one label. So the certificate's `*.test` never
    satisfies the configured `*.contoso.test`.
    """
    return next((name for name in names if _satisfies(configured, name)), None)


def _satisfies(configured: str, name: str) -> bool:
    base = name.removeprefix("*.")
    if not base or "*" in base:
        return False
    if configured.startswith("*."):
        wanted = configured[2:]
        return base == wanted or base.endswith(f".{wanted}")
    if name.startswith("*."):
        head, dot, rest = configured.partition(".")
        return bool(head and dot) and rest == base
    return name == configured
