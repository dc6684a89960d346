"""Enhanced filtering of a connector: which hops are skipped on the way back to the true source (specification 1.13.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from lockgate.policy.checks import Key, Report
from lockgate.policy.documents import Documents, Written
from lockgate.policy.networks import Network, parse_networks
from lockgate.policy.objects.connectors import InboundConnector
from lockgate.policy.tries import NetworkMap

_PRIVATE = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "::1", "fe80::/10", "fc00::/7",
)  # fmt: skip
"""RFC 1918, loopback, link-local and unique local addresses, and nothing else (amendments)."""

_NOBODY = ("0.0.0.0/8", "224.0.0.0/3", "::", "ff00::/8")
"""Addresses that no host can have that connects to another one."""


def _table(entries: Iterable[str]) -> NetworkMap[str]:
    return NetworkMap((network, entry) for entry in entries for network in parse_networks(entry))


_PRIVATE_TABLE, _NOBODY_TABLE = _table(_PRIVATE), _table(_NOBODY)


def private_range(packed: bytes) -> str:
    """The private range that holds the address (network byte order); "" for all others."""
    return _PRIVATE_TABLE.find(packed) or ""


def is_nobody(packed: bytes) -> bool:
    """Whether no host can connect from this address."""
    return _NOBODY_TABLE.find(packed) is not None


@dataclass(frozen=True, slots=True)
class EnhancedFiltering:
    """How one connector wants the true source looked for. `users` are address keys; empty means everybody."""

    connector: str
    skip_last: bool
    skipped: NetworkMap[str] = field(default_factory=NetworkMap)
    users: frozenset[str] = frozenset()


def enhanced_of(connectors: Iterable[InboundConnector]) -> Mapping[str, EnhancedFiltering]:
    """The enabled connectors that ask for it, by name."""
    found = {
        one.name: EnhancedFiltering(
            one.name,
            one.ef_skip_last_ip,
            _table(() if one.ef_skip_last_ip else one.ef_skip_ips),
            frozenset(user.casefold() for user in one.ef_users),
        )
        for one in connectors
        if one.enabled and _asks(one)
    }
    return MappingProxyType(found)


def _asks(connector: InboundConnector) -> bool:
    return connector.ef_skip_last_ip or bool(connector.ef_skip_ips)


def check_enhanced_filtering(documents: Documents, report: Report) -> None:
    """Private ranges are refused, since they are skipped anyway (T-GW-3); what does not go together is advised of."""
    central = {
        one.value.organisation
        for one in documents.outbound
        if one.value.enabled and one.value.route_all_messages_via_on_premises
    }
    for written in documents.inbound:
        connector = written.value
        _private(written, report)
        if not _asks(connector):
            if connector.ef_users:
                message = "these recipients have no effect; enhanced filtering needs ef_skip_last_ip or ef_skip_ips"
                report.doubtful(written, ("ef_users", "ef_skip_last_ip", "ef_skip_ips"), message)
            continue
        key: Key = "ef_skip_last_ip" if connector.ef_skip_last_ip else "ef_skip_ips"
        if connector.organisation in central:
            message = (
                "enhanced filtering does not go together with centralised transport"
                " (route_all_messages_via_on_premises): what on-premises returns looks as if it came from outside"
            )
            report.doubtful(written, (key,), message)
        if connector.treat_messages_as_internal:
            message = (
                "mail with a sender of your domains counts as internal over this connector, wherever it really came"
                " from; with enhanced filtering leave treat_messages_as_internal away"
            )
            report.doubtful(written, (key, "treat_messages_as_internal"), message)
        if connector.ef_skip_last_ip and not connector.on_premises and not _identifies(connector):
            message = (
                "nothing shows that a session is the gateway's, so no Received field is believed; restrict the"
                " connector to its addresses or certificate, or list its addresses in ef_skip_ips"
            )
            report.doubtful(written, (key, "sender_ip_addresses", "tls_sender_certificate_name"), message)


def _identifies(connector: InboundConnector) -> bool:
    named = connector.tls_sender_certificate_name or connector.pinned_keys
    return bool(connector.sender_ip_addresses or named)


def _private(written: Written[InboundConnector], report: Report) -> None:
    for index, entry in enumerate(written.value.ef_skip_ips):
        held = next((name for name in _PRIVATE if _overlap(parse_networks(entry), parse_networks(name))), "")
        if held:
            message = f"{entry} has private addresses ({held}); those are skipped by themselves and may not be listed"
            report.wrong(written, (("ef_skip_ips", index),), message)


def _overlap(some: Iterable[Network], others: Iterable[Network]) -> bool:
    return any(_within(a, b) or _within(b, a) for a in some for b in others)


def _within(inner: Network, outer: Network) -> bool:
    width = len(inner.packed) * 8
    if len(outer.packed) * 8 != width or inner.length < outer.length:
        return False
    behind = width - outer.length
    return int.from_bytes(inner.packed, "big") >> behind == int.from_bytes(outer.packed, "big") >> behind
