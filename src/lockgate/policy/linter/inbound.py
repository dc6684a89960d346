"""Inbound connectors that never count, that say different things of the same mail, or that prove too little.

Specification 2.2 and 2.3 (which connector counts), 1.3 (abuse); the order is that of decision/partners.py.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from itertools import islice

from lockgate.policy.checks import Report
from lockgate.policy.documents import Documents, Written
from lockgate.policy.linter.shared_hosts import sharing
from lockgate.policy.networks import Network, parse_networks
from lockgate.policy.objects.connectors import InboundConnector

_Found = Written[InboundConnector]

_LOOKED_AT = 20
"""So many connectors for one pattern are compared with each other; thousands for one are a different problem."""

_WIDE = {4: 16, 16: 32}
"""By octets of an address: a network with a shorter prefix is more than one owner's."""


# --- own servers


def lint_own_servers(documents: Documents, report: Report) -> None:
    """Own servers that many others could be taken for, and connectors for what another one stands for already."""
    certificates: dict[tuple[str, str], _Found] = {}
    addresses: dict[tuple[str, Network], _Found] = {}
    for written in documents.inbound:
        connector = written.value
        if not connector.on_premises or not connector.enabled:
            continue
        networks = networks_of(connector)
        if not connector.tls_sender_certificate_name:
            _everybody(written, networks, report)
            _same_addresses(written, networks, addresses, report)
        elif not networks:
            place = (connector.organisation, connector.tls_sender_certificate_name)
            first = certificates.setdefault(place, written)
            if first is not written:
                _never(written, first, "tls_sender_certificate_name", "the same certificate", report)


def networks_of(connector: InboundConnector) -> tuple[Network, ...]:
    """The networks of its senders."""
    return tuple(network for entry in connector.sender_ip_addresses for network in parse_networks(entry))


def _everybody(written: _Found, networks: tuple[Network, ...], report: Report) -> None:
    host = sharing(networks)
    if host is not None:
        report.doubtful(
            written,
            ("sender_ip_addresses", "connector_type"),
            f"addresses of {host.name} are all that proves these own servers",
            why=f"every customer of {host.name} sends from them, and could send to the whole world in your name",
            mend="identify your servers by tls_sender_certificate_name, a certificate for a domain of yours",
        )
    wide = next((one for one in networks if one.length < _WIDE[len(one.packed)] and not _inside(one)), None)
    if wide is not None:
        report.doubtful(
            written,
            ("sender_ip_addresses", "connector_type"),
            f"{wide.text} are more addresses than one organisation has",
            why="whoever sends from one of them in your name may relay to the whole world: close to an open relay",
            mend="list only the addresses of your servers, or identify them by tls_sender_certificate_name",
        )


def _inside(network: Network) -> bool:
    """Whether it lies in the address space that is not routed between organisations (private and shared use)."""
    address = ipaddress.ip_network((network.packed, network.length))
    if isinstance(address, ipaddress.IPv4Network):
        return any(address.subnet_of(one) for one in _PRIVATE4)
    return any(address.subnet_of(one) for one in _PRIVATE6)


_PRIVATE4 = tuple(
    ipaddress.IPv4Network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8")
)
_PRIVATE6 = (ipaddress.IPv6Network("fc00::/7"), ipaddress.IPv6Network("::1"))


def _same_addresses(
    written: _Found, networks: tuple[Network, ...], known: dict[tuple[str, Network], _Found], report: Report
) -> None:
    mine = written.value.organisation
    others = [known.get((mine, network)) for network in networks]
    first = others[0] if others else None
    if first is not None and all(other is not None for other in others):
        _never(written, first, "sender_ip_addresses", "the same addresses", report)
    for network in networks:
        known.setdefault((mine, network), written)


def _never(written: _Found, first: _Found, key: str, what: str, report: Report) -> None:
    report.doubtful(
        written,
        (key, "enabled", "organisation"),
        f"'{written.value.name}' never counts: '{first.value.name}' has {what} and comes first",
        why="its rights and switches have no effect, and disabling it would change nothing",
        mend="remove one of the two, or give this one servers of its own",
    )


# --- partners


def lint_partners(documents: Documents, report: Report) -> None:
    """Partner connectors that never count, and pairs of which the weaker one decides."""
    mine: dict[str, list[_Found]] = {}
    for written in documents.inbound:
        if not written.value.on_premises and written.value.enabled and not written.value.trusted_organizations:
            mine.setdefault(written.value.organisation, []).append(written)
    for partners in mine.values():
        patterns: dict[str, list[_Found]] = {}
        for written in partners:
            for pattern in written.value.sender_domains:
                patterns.setdefault(pattern, []).append(written)
        for written in partners:
            if not _shadowed(written, patterns, report):
                _overlapping(written, patterns, report)
            _everybodys_addresses(written, report)


def _shadowed(written: _Found, patterns: dict[str, list[_Found]], report: Report) -> bool:
    connector = written.value
    winners = [_winner(written, pattern, patterns) for pattern in connector.sender_domains]
    if not any(winners):
        return False
    whole = all(winners)
    for index, (pattern, winner) in enumerate(zip(connector.sender_domains, winners, strict=True)):
        if winner is None:
            continue
        where = "never counts" if whole else f"never counts for {_told(pattern)}"
        first = winner.value
        why = "restricts senders" if _restricts(first) and not _restricts(connector) else "comes first by name"
        report.doubtful(
            written,
            (("sender_domains", index), "enabled", "connector_type", "organisation"),
            f"'{connector.name}' {where}: '{first.name}' covers the same senders and {why}",
            why=f"what it demands is not enforced; the mail has to satisfy '{first.name}' alone",
            mend=f"put its demands into '{first.name}', narrow the sender domains of that one, or remove this one",
        )
        if whole:
            return True
    return False


def _winner(written: _Found, pattern: str, patterns: dict[str, list[_Found]]) -> _Found | None:
    """A connector that counts before this one for all mail of the pattern, whatever the session shows."""
    for above in _covering(pattern):
        for other in islice(patterns.get(above, ()), _LOOKED_AT):
            if other is not written and _always_first(other.value, written.value, same=above == pattern):
                return other
    return None


def _covering(pattern: str) -> Iterator[str]:
    """The patterns that cover all that this one covers (a sender wildcard covers its apex)."""
    yield pattern
    if pattern != "*":
        rest = pattern.removeprefix("*.")
        if not pattern.startswith("*."):
            yield f"*.{rest}"
        while rest := rest.partition(".")[2]:
            yield f"*.{rest}"
        yield "*"


def _always_first(first: InboundConnector, second: InboundConnector, *, same: bool) -> bool:
    if _identifies(first) or not _reaches(first, second):
        return False
    if _restricts(first) != _restricts(second):
        return _restricts(first)
    return same and not _shows_itself(second) and first.name < second.name


def _restricts(connector: InboundConnector) -> bool:
    return connector.restrict_domains_to_certificate or connector.restrict_domains_to_ip_addresses


def _identifies(connector: InboundConnector) -> bool:
    """Whether it is only about sessions from its addresses (specification 2.3 rule 6)."""
    return bool(connector.sender_ip_addresses) and not connector.restrict_domains_to_ip_addresses


def _shows_itself(connector: InboundConnector) -> bool:
    return bool(connector.sender_ip_addresses or connector.tls_sender_certificate_name or connector.pinned_keys)


def _reaches(first: InboundConnector, second: InboundConnector) -> bool:
    """Whether the first is for all recipient domains of the second."""
    scope, wanted = set(first.associated_accepted_domains), second.associated_accepted_domains
    return not scope or (bool(wanted) and scope.issuperset(wanted))


def _overlapping(written: _Found, patterns: dict[str, list[_Found]], report: Report) -> None:
    connector = written.value
    for index, pattern in enumerate(connector.sender_domains):
        for other in islice(patterns.get(pattern, ()), _LOOKED_AT):
            if other is written:
                break  # told at the later one of the two
            if _weaker_decides(other.value, connector):
                report.doubtful(
                    written,
                    (("sender_domains", index), "enabled", "connector_type", "organisation"),
                    f"'{connector.name}' and '{other.value.name}' ask different things of {_told(pattern)}",
                    why="a session that satisfies either of them gets in, so that the weaker one is what protects you",
                    mend="put all that you demand of this partner into one connector",
                )
                return


def _weaker_decides(one: InboundConnector, other: InboundConnector) -> bool:
    if _restricts(one) != _restricts(other) or _identifies(one) or _identifies(other):
        return False
    return _demands(one) != _demands(other) and _meet(one, other) and (_shows_itself(one) or _shows_itself(other))


def _demands(connector: InboundConnector) -> tuple[bool, bool, bool]:
    return (
        connector.require_tls,
        connector.restrict_domains_to_certificate,
        connector.restrict_domains_to_ip_addresses,
    )


def _meet(one: InboundConnector, other: InboundConnector) -> bool:
    """Whether some recipient domain is in the scope of both."""
    mine, theirs = set(one.associated_accepted_domains), set(other.associated_accepted_domains)
    return not mine or not theirs or bool(mine & theirs)


def _everybodys_addresses(written: _Found, report: Report) -> None:
    connector = written.value
    if not connector.restrict_domains_to_ip_addresses or connector.restrict_domains_to_certificate:
        return
    host = sharing(networks_of(connector))
    if host is not None:
        report.doubtful(
            written,
            ("sender_ip_addresses", "restrict_domains_to_ip_addresses", "connector_type"),
            f"addresses of {host.name} are all that proves this partner",
            why=f"every customer of {host.name} sends from them, and can claim to be the partner",
            mend="demand the partner's own certificate, or let anti-phishing judge by DMARC and drop the restriction",
        )


def _told(pattern: str) -> str:
    return "all senders" if pattern == "*" else pattern
