"""What an organisation publishes of how its mail is taken: hosts, MTA-STS policy, TLS reports (RFC 8461, 8460)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lockgate.mail.sts_text import record_for, written_policy
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.policy import Policy


class Published(msgspec.Struct, frozen=True):
    """The MTA-STS policy of one of our domains: where it is asked for, its text, and the TXT record of that text."""

    domain: str
    host: str
    text: str
    record: str


def mail_hosts(domain: AcceptedDomain, hostname: str) -> tuple[str, ...]:
    """The names, or `*.` and a domain, of the hosts that take the domain's mail; `hostname` is the installation's."""
    return domain.mta_sts_mx or (hostname,)


def is_covered(host: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns is this name, or `*.` and what stands behind its first label (RFC 8461 4.1)."""
    return host in patterns or f"*.{host.partition('.')[2]}" in patterns


def published(domain: AcceptedDomain, hostname: str) -> Published | None:
    """The domain's MTA-STS policy; None where it publishes none, or does not receive."""
    if domain.mta_sts_mode is None or not domain.receives:
        return None
    text = written_policy(domain.mta_sts_mode, mail_hosts(domain, hostname), domain.mta_sts_max_age)
    name = domain.domain_name
    return Published(name, f"mta-sts.{name}", text, record_for(text))


def all_published(policy: Policy) -> dict[str, bytes]:
    """Every policy that we publish, by the host under which it is asked for."""
    found: dict[str, bytes] = {}
    for mine in policy.organisations.values():
        for domain in mine.accepted:
            if (one := published(domain, policy.hostname)) is not None:
                found[one.host] = one.text.encode()
    return found


def report_record(addresses: tuple[str, ...]) -> str:
    """The TXT record of _smtp._tls.DOMAIN (RFC 8460 3) for reports to these mail addresses; "" for none."""
    if not addresses:
        return ""
    return "v=TLSRPTv1; rua=" + ",".join(f"mailto:{_quoted(address)}" for address in addresses[:5])


def _quoted(address: str) -> str:
    """What separates addresses and fields of the record is written as a URI writes it (RFC 8460 3, RFC 3986 2.1)."""
    return "".join(f"%{ord(one):02X}" if one in "%,;!? " else one for one in address)
