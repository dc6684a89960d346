"""TLS results in a list: seams.TlsResults for tests."""

from __future__ import annotations


class ListedTlsResults:
    """Keeps (organisation, domain, kind, result, receiving_mx, sending_ip) in `noted`, and in `policies` what was
    published by domain and kind.
    """

    def __init__(self) -> None:
        self.noted: list[tuple[str, str, str, str, str, str]] = []
        self.policies: dict[tuple[str, str], tuple[str, ...]] = {}

    def note(
        self,
        organisation: str,
        domain: str,
        kind: str,
        result: str,
        *,
        receiving_mx: str = "",
        sending_ip: str = "",
        policy: tuple[str, ...] = (),
    ) -> None:
        """Note one session."""
        self.policies[domain, kind] = policy
        self.noted.append((organisation, domain, kind, result, receiving_mx, sending_ip))
