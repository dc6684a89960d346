"""TLS results in a list: seams.TlsResults for tests."""

from __future__ import annotations


class ListedTlsResults:
    """Keeps (organisation, domain, kind, result, receiving_mx, sending_ip) in `noted`."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str, str, str, str, str]] = []

    def note(
        self, organisation: str, domain: str, kind: str, result: str, *, receiving_mx: str = "", sending_ip: str = ""
    ) -> None:
        """Note one session."""
        self.noted.append((organisation, domain, kind, result, receiving_mx, sending_ip))
