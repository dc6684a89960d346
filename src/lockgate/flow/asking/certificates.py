"""What can be asked about certificates: ours, those of connectors, CA files and revocation lists."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class CertificateList(Ask, frozen=True, tag="certificate_list"):
    """All of them with their end, where each is used, and what is wrong."""


class CertificateShow(Ask, frozen=True, tag="certificate_show"):
    """Everything about those of this name, file, or ordered certificate (NAME.KIND)."""

    name: str


class CertificateOrder(Ask, frozen=True, tag="certificate_order"):
    """Order what is missing now, or these (NAME, or NAME.KIND), from the authority of the operator's file.

    With `staging`, the address of another directory, it is a rehearsal: all is ordered and nothing put in place.
    """

    names: tuple[str, ...] = ()
    staging: str = ""
    what_if: bool = False


class CertificateRenew(Ask, frozen=True, tag="certificate_renew"):
    """Order again those that are due, or these (NAME, or NAME.KIND) although they are not due."""

    names: tuple[str, ...] = ()
    what_if: bool = False
