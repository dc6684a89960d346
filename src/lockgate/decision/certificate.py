"""Does the certificate that the peer presented prove what a connector asks of it? (DESIGN 5, threats 3.3)

Shared by the stages that look at connectors. Two cheap questions, always in this order: is the certificate to be
believed at all (chain or pin), and does it bear the name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from lockgate.mail.certificate_names import name_covered
from lockgate.mail.connection import Certificate, Tls

if TYPE_CHECKING:
    from lockgate.policy.objects.connectors import InboundConnector

_ANY_PURPOSE = frozenset({"serverAuth", "clientAuth", "2.5.29.37.0"})
_HOST_NAME = re.compile(r"(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)*")


class Proof(NamedTuple):
    """Why the certificate is (not) the one the connector means, whether it is, and the name that matched."""

    because: str
    good: bool = False
    name: str = ""


def prove(connector: InboundConnector, tls: Tls | None) -> Proof:
    """Judge the presented certificate against the connector's name, CA store and pins."""
    if tls is None:
        return Proof("the session is not encrypted, so no certificate was presented")
    certificate = tls.certificate
    if certificate is None:
        return Proof("no certificate was presented")
    trouble = _distrust(connector, tls, certificate)
    if trouble:
        return Proof(trouble)
    wanted = connector.tls_sender_certificate_name
    if not wanted:
        return Proof("the key of the certificate is one of the pinned keys", good=True)
    names = names_of(certificate, common_name=connector.allow_common_name)
    name = name_covered(wanted, names)
    if name is None:
        return Proof(f"the certificate is for {', '.join(names[:5]) or 'no host name'}, not for {wanted}")
    return Proof(f"the certificate is for {name}", good=True, name=name)


def names_of(certificate: Certificate, *, common_name: bool) -> tuple[str, ...]:
    """The host names a certificate bears; its common name only where a connector opts in (amendments)."""
    if not common_name:
        return certificate.names
    name = certificate.common_name.lower().rstrip(".")
    if not _HOST_NAME.fullmatch(name) or name in certificate.names:
        return certificate.names
    return (*certificate.names, name)


def _distrust(connector: InboundConnector, tls: Tls, certificate: Certificate) -> str:
    """Why the certificate proves nothing to this connector; "" if it is to be believed.

    Where keys are pinned only they count: the key is the identity then, whatever issuer and dates the certificate
    states (as with DANE-EE, RFC 7672 3.1.1), so that a renewed chain or a stolen CA changes nothing.
    """
    if connector.pinned_keys:
        if certificate.spki_sha256 in connector.pinned_keys:
            return ""
        return "the key of the certificate is none of the pinned keys"
    if connector.ca_file and connector.ca_file not in tls.trusted_by:
        return f"no CA certificate in {connector.ca_file} vouches for the certificate{_aside(tls)}"
    if not connector.ca_file and "public" not in tls.trusted_by:
        return f"the certificate is not to be believed: {tls.trouble or 'its issuer is not trusted'}"
    if certificate.purposes and _ANY_PURPOSE.isdisjoint(certificate.purposes):
        return "the certificate is for another purpose than TLS servers and clients"
    return ""


def _aside(tls: Tls) -> str:
    """What was seen of the chain besides, as far as it matters to who trusts a CA file of his own."""
    if "public" in tls.trusted_by:
        return " (public CAs do)"
    return f": {tls.trouble}" if tls.trouble else ""
