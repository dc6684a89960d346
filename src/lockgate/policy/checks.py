"""What no single object can know: rules between properties and between objects (specification 1.1.1, threats 3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lockgate.mail.ruling import TlsLevel
from lockgate.policy.documents import Documents, Place, Written
from lockgate.policy.networks import NetworkError, parse_networks
from lockgate.policy.objects.connectors import InboundConnector, OutboundConnector
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.objects.organisation import Organisation
from lockgate.policy.objects.rules import MailFlowRule

_MOST_FILTER_ENTRIES = 1273
_MOST_RULES = 300


def check_inbound(documents: Documents, connectors: Sequence[Written], domains: Mapping[str, AcceptedDomain]) -> None:
    """Inbound connectors, each by itself and against the accepted domains."""
    for connector, place in connectors:
        if connector.connector_type == "partner":
            _check_partner(documents, connector, place)
        else:
            _check_own_server(documents, connector, place, domains)
        for number, name in enumerate(connector.associated_accepted_domains):
            home = domains.get(name)
            if home is None or home.organisation != connector.organisation:
                message = f"{name} is no accepted domain of {connector.organisation}"
                documents.complain(place, message, "associated_accepted_domains", number)
        for number, text in enumerate(connector.ef_skip_ips):
            if _is_private(text):
                message = f"{text} is a private range; those are always skipped and must not be listed"
                documents.complain(place, message, "ef_skip_ips", number)


def _check_partner(documents: Documents, c: InboundConnector, place: Place) -> None:
    if c.restrict_domains_to_ip_addresses and not c.sender_ip_addresses:
        message = "this restricts to addresses, so list them in sender_ip_addresses"
        documents.complain(place, message, "restrict_domains_to_ip_addresses")
    if c.restrict_domains_to_certificate:
        if not c.tls_sender_certificate_name and not c.pinned_keys:
            message = "this restricts to a certificate, so name it in tls_sender_certificate_name or pin its key"
            documents.complain(place, message, "restrict_domains_to_certificate")
        if not c.require_tls:
            message = "a restriction to a certificate needs require_tls = true"
            documents.complain(place, message, "restrict_domains_to_certificate")
    if c.treat_messages_as_internal:
        message = "only own servers (connector_type = \"on_premises\") can send internal mail"
        documents.complain(place, message, "treat_messages_as_internal")


def _check_own_server(
    documents: Documents, c: InboundConnector, place: Place, domains: Mapping[str, AcceptedDomain]
) -> None:
    if not c.sender_ip_addresses and not c.tls_sender_certificate_name and not c.trusted_organizations:
        message = "own servers are recognised by tls_sender_certificate_name or sender_ip_addresses; give one of them"
        documents.complain(place, message)
    if c.treat_messages_as_internal and c.cloud_services_mail_enabled:
        message = "this cannot be combined with cloud_services_mail_enabled, which carries the internal mark itself"
        documents.complain(place, message, "treat_messages_as_internal")
    name = c.tls_sender_certificate_name
    if name is None:
        return
    tied = name.removeprefix("*.")
    home = domains.get(tied)
    if home is None or home.organisation != c.organisation:
        message = (
            f"{tied} is no accepted domain of {c.organisation}; the certificate name of own servers must be one, "
            "or *. before one (specification 2.3 rule 8)"
        )
        documents.complain(place, message, "tls_sender_certificate_name")


def _is_private(text: str) -> bool:
    try:
        return all(_within_private(network.packed) for network in parse_networks(text))
    except NetworkError:
        return False


def _within_private(packed: bytes) -> bool:
    if len(packed) == 4:
        return packed[0] in (10, 127) or packed[:2] in (b"\xc0\xa8", b"\xa9\xfe") or (
            packed[0] == 172 and 16 <= packed[1] < 32
        )
    return packed[0] & 0xFE == 0xFC or (packed[0] == 0xFE and packed[1] & 0xC0 == 0x80)


def check_shared(documents: Documents, connectors: Iterable[Written]) -> None:
    """No two organisations may be recognised by one certificate name or address (threats 3.3.5)."""
    owners: dict[object, tuple[str, str]] = {}
    for connector, place in connectors:
        if connector.connector_type != "on_premises":
            continue
        marks: list[tuple[object, str, str]] = []
        if connector.tls_sender_certificate_name and not connector.pinned_keys:
            name = connector.tls_sender_certificate_name
            marks.append((name, "tls_sender_certificate_name", name))
        for text in connector.sender_ip_addresses:
            marks.extend((network, "sender_ip_addresses", text) for network in parse_networks(text))
        for mark, key, shown in marks:
            owner, other = owners.setdefault(mark, (connector.organisation, connector.name))
            if owner != connector.organisation:
                message = f"{shown} belongs to the connector {other} of {owner}; two organisations cannot share it"
                documents.complain(place, message, key)


def check_outbound(documents: Documents, connectors: Sequence[Written]) -> None:
    """Outbound connectors, each by itself."""
    for connector, place in connectors:
        _check_way(documents, connector, place)
        if connector.connector_type != "on_premises":
            for key in ("all_accepted_domains", "route_all_messages_via_on_premises", "sender_rewriting_enabled"):
                if getattr(connector, key):
                    documents.complain(place, 'this needs connector_type = "on_premises"', key)
        if connector.login_user and connector.login_secret is None:
            documents.complain(place, "a login needs login_secret, such as file:/etc/lockgate/hq", "login_user")
        if (connector.certificate_file is None) != (connector.key_file is None):
            documents.complain(place, "certificate_file and key_file belong together; give both")


def _check_way(documents: Documents, c: OutboundConnector, place: Place) -> None:
    if not c.use_mx_record and not c.smart_hosts:
        documents.complain(place, "without MX the next hop must be named in smart_hosts", "use_mx_record")
    if c.use_mx_record and c.smart_hosts:
        documents.complain(place, "smart_hosts need use_mx_record = false; say which is meant", "smart_hosts")
    if c.tls_settings is TlsLevel.DOMAIN_VALIDATION and c.use_mx_record and not c.tls_domain:
        message = "domain_validation by MX needs tls_domain, because a name learned from DNS proves nothing"
        documents.complain(place, message, "tls_settings")
    scoped = c.is_transport_rule_scoped or c.all_accepted_domains or c.route_all_messages_via_on_premises
    if not c.recipient_domains and not scoped:
        message = "it would never be chosen: give recipient_domains, or is_transport_rule_scoped = true"
        documents.complain(place, message)


def check_domains(documents: Documents, domains: Sequence[Written]) -> None:
    """One default for each organisation; sub-domains only where unknown recipients go on; nobody below another's."""
    defaults: dict[str, str] = {}
    owners = {domain.domain_name: domain for domain, _ in domains}
    for domain, place in domains:
        if domain.default:
            first = defaults.setdefault(domain.organisation, domain.domain_name)
            if first != domain.domain_name:
                documents.complain(place, f"{first} is the default domain of {domain.organisation} already", "default")
        if domain.match_sub_domains and domain.domain_type != "internal_relay":
            documents.complain(place, 'this needs domain_type = "internal_relay"', "match_sub_domains")
        above = domain.domain_name.partition(".")[2]
        while above:
            owner = owners.get(above)
            if owner is not None and owner.organisation != domain.organisation:
                message = f"{above} belongs to {owner.organisation}, so nobody else may add a name below it"
                documents.complain(place, message, "domain_name")
                break
            above = above.partition(".")[2]


def check_filters(documents: Documents, filters: Sequence[Written], organisations: Mapping[str, Organisation]) -> None:
    """Exchange's limits of the connection filter, where an organisation wants them (specification 1.8)."""
    for found, place in filters:
        if organisations[found.organisation].compatibility != "exchange":
            continue
        for key in ("ip_allow_list", "ip_block_list"):
            entries = getattr(found, key)
            if len(entries) > _MOST_FILTER_ENTRIES:
                documents.complain(place, f"at most {_MOST_FILTER_ENTRIES} entries (compatibility)", key)
            for number, text in enumerate(entries):
                if why := _not_exchange(text):
                    documents.complain(place, f"{text}: {why} (compatibility)", key, number)


def check_compatible_connectors(
    documents: Documents, connectors: Sequence[Written], organisations: Mapping[str, Organisation]
) -> None:
    """IPv4 only, /24 at widest, where an organisation wants Exchange's limits (T-IPR-3)."""
    for connector, place in connectors:
        if organisations[connector.organisation].compatibility == "exchange":
            for number, text in enumerate(connector.sender_ip_addresses):
                if why := _not_exchange(text):
                    documents.complain(place, f"{text}: {why} (compatibility)", "sender_ip_addresses", number)


def _not_exchange(text: str) -> str:
    networks = parse_networks(text)
    if len(networks[0].packed) != 4:
        return "IPv6 is not allowed"
    if "/" in text and networks[0].length < 24:
        return "networks wider than /24 are not allowed"
    if "-" in text and sum(1 << (32 - network.length) for network in networks) > 256:
        return "ranges of more than 256 addresses are not allowed"
    return ""


def check_rules(documents: Documents, rules: Sequence[Written], connectors: Sequence[Written]) -> None:
    """What rules name must exist; a disabled connector may be named, its mail waits."""
    known = {(c.organisation, c.name) for c, _ in connectors}
    for rule, place in rules:
        for key, named in _connectors_of(rule):
            if (rule.organisation, named) not in known:
                documents.complain(place, f"there is no outbound connector {named} in {rule.organisation}", key)


def _connectors_of(rule: MailFlowRule) -> Iterable[tuple[str, str]]:
    for key, made in rule.actions:
        ask = getattr(made, "outbound_connectors", None)
        if ask is not None:
            for named in ask():
                yield key, named


def check_rule_count(documents: Documents, rules: Sequence[Written], organisations: Mapping[str, Organisation]) -> None:
    """At most 300 rules in compatibility (T-RULE-15)."""
    counts: dict[str, int] = {}
    for rule, place in rules:
        counts[rule.organisation] = counts.get(rule.organisation, 0) + 1
        if counts[rule.organisation] == _MOST_RULES + 1 and organisations[rule.organisation].compatibility:
            documents.complain(place, f"at most {_MOST_RULES} rules (compatibility)")
