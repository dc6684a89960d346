"""Outbound connectors that are never taken, that take too much, or that wait for a certificate nobody has.

Specification 2.4 (which connector is taken) and 1.2.1 (what TLS must be like); the order is that of decision/route.py.
"""

from __future__ import annotations

from itertools import islice

from lockgate.mail.certificate_names import name_covered
from lockgate.mail.ruling import TlsLevel
from lockgate.policy.catalog import Catalog
from lockgate.policy.checks import Key, Report
from lockgate.policy.documents import Documents, Written
from lockgate.policy.linter.shared_hosts import SharedHost, below, host_of
from lockgate.policy.objects.connectors import OutboundConnector
from lockgate.policy.spelling import smart_host_parts
from lockgate.policy.ties import references

_Found = Written[OutboundConnector]

_LOOKED_AT = 20
"""So many connectors for one domain are compared with each other."""


def lint_outbound(documents: Documents, catalog: Catalog, report: Report) -> None:
    """Everything about outbound connectors that takes more than one object, or knowledge of others."""
    named = {
        (rule.value.organisation, name) for rule in documents.rules for _, name in references(rule.value, catalog)
    }
    relayed = {
        written.value.organisation
        for written in documents.inbound
        if written.value.on_premises and written.value.enabled
    }
    patterns: dict[tuple[str, str], list[_Found]] = {}
    for written in documents.outbound:
        connector = written.value
        if connector.enabled and not connector.is_transport_rule_scoped:
            for pattern in connector.recipient_domains:
                patterns.setdefault((connector.organisation, pattern), []).append(written)
    for written in documents.outbound:
        connector = written.value
        if not connector.enabled:
            continue
        if connector.is_transport_rule_scoped:
            if (connector.organisation, connector.name) not in named:
                _unnamed(written, report)
        else:
            _shadowed(written, patterns, report)
            if connector.organisation in relayed:
                _swallows(written, report)
        _certificates(written, report)


def _unnamed(written: _Found, report: Report) -> None:
    connector = written.value
    report.doubtful(
        written,
        ("is_transport_rule_scoped", "enabled", "organisation"),
        f"no mail flow rule names '{connector.name}', and it is for rules alone",
        why="no mail ever leaves by it, even to its recipient domains",
        mend=f'route_message_outbound_connector = "{connector.name}" in a rule, or no is_transport_rule_scoped',
    )


def _shadowed(written: _Found, patterns: dict[tuple[str, str], list[_Found]], report: Report) -> None:
    connector = written.value
    if connector.all_accepted_domains or connector.route_all_messages_via_on_premises:
        return
    winners = [_winner(written, pattern, patterns) for pattern in connector.recipient_domains]
    whole = bool(winners) and all(winners)
    for index, (pattern, first) in enumerate(zip(connector.recipient_domains, winners, strict=True)):
        if first is None:
            continue
        better = "costs less" if first.value.cost < connector.cost else "comes first by name"
        domain = "all domains" if pattern == "*" else pattern
        scope = "" if whole else f" for {domain}"
        report.doubtful(
            written,
            (("recipient_domains", index), "enabled", "cost", "organisation", "is_transport_rule_scoped"),
            f"'{connector.name}' is never taken{scope}: '{first.value.name}' is for {domain} too and {better}",
            why="it is no second way either: while that one is down, mail waits for it (specification 2.4)",
            mend=f"list the servers of both in '{first.value.name}', which fails over, or remove one of the two",
        )
        if whole:
            return


def _winner(written: _Found, pattern: str, patterns: dict[tuple[str, str], list[_Found]]) -> _Found | None:
    """The connector for the same domains that is taken before this one, whatever the message's size."""
    mine = written.value
    for other in islice(patterns.get((mine.organisation, pattern), ()), _LOOKED_AT):
        first = other.value
        takes_all = not first.size_limit or (mine.size_limit and mine.size_limit <= first.size_limit)
        if other is not written and takes_all and (first.cost, first.name) < (mine.cost, mine.name):
            return other
    return None


def _swallows(written: _Found, report: Report) -> None:
    connector = written.value
    if not connector.on_premises or connector.route_all_messages_via_on_premises:
        return
    if "*" in connector.recipient_domains:
        report.doubtful(
            written,
            (("recipient_domains", connector.recipient_domains.index("*")), "connector_type", "organisation"),
            f"'{connector.name}' takes all mail to the Internet to your own servers",
            why="what those servers hand over for the Internet goes back to them, round and round until it is returned",
            mend="name your own domains, or all_accepted_domains = true; if mail shall leave by your servers, say "
            "route_all_messages_via_on_premises = true, which leaves out what came from there",
        )


def _certificates(written: _Found, report: Report) -> None:
    """A smart host of a service for many shows that service's certificate, whatever a customer wishes."""
    connector = written.value
    if connector.use_mx_record or connector.tls_settings is not TlsLevel.DOMAIN_VALIDATION or connector.pinned_keys:
        return
    for index, entry in enumerate(connector.smart_hosts):
        host = smart_host_parts(entry)[0]
        service = host_of(host)
        if service is not None and connector.tls_domain and not shows(service, connector.tls_domain):
            cannot_match(written, ("smart_hosts", index), host, service, report)


def shows(service: SharedHost, wanted: str) -> bool:
    """Whether a certificate of the service may satisfy this configured name."""
    base = wanted.removeprefix("*.")
    return any(below(base, one) or name_covered(wanted, [one]) is not None for one in service.domains)


def cannot_match(written: _Found, key: Key, host: str, service: SharedHost, report: Report) -> None:
    """TLS is demanded from a host that cannot show the name."""
    wanted = written.value.tls_domain
    report.doubtful(
        written,
        (key, "tls_domain", "tls_settings", "use_mx_record"),
        f"{host} belongs to {service.name} and cannot show a certificate for {wanted}",
        why="the demand is never met: all this mail waits, and is returned at the end of its life",
        mend=f'tls_domain = "*.{service.domains[0]}", which is the name that its certificates bear',
    )
