"""Do the objects go together? Names that are referred to, names given twice, and what organisations may not share.

Specification 1.1.1 rule 4, 2.2, 2.3 rule 8; threats 3.3 rule 5; amendments (domain proof).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from lockgate.policy.anti_phishing import check_anti_phishing
from lockgate.policy.catalog import Catalog
from lockgate.policy.checks import Key, Report
from lockgate.policy.dkim_signing import check_dkim_signing
from lockgate.policy.documents import Documents, Written, name_key
from lockgate.policy.enhanced_filtering import check_enhanced_filtering
from lockgate.policy.groups import said_in, written_in
from lockgate.policy.kinds import Refers
from lockgate.policy.named_lists import check_named_lists
from lockgate.policy.networks import Network, parse_networks
from lockgate.policy.objects.connectors import InboundConnector
from lockgate.policy.objects.domains import AcceptedDomain, DomainType
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.problems import nearest
from lockgate.policy.reporting import check_reporting
from lockgate.policy.stores import check_stores
from lockgate.policy.tries import DomainMap, NetworkMap


def check_ties(documents: Documents, catalog: Catalog, report: Report) -> None:
    """Everything that concerns more than one object."""
    _organisations(documents, report)
    _twice(documents, report)
    _domains_of_one(documents, report)
    _domain_owners(documents, report)
    _other_recipients(documents, report)
    domains = accepted_by_organisation(documents.domains)
    for inbound in documents.inbound:
        _scope(inbound, domains.get(inbound.value.organisation), documents, report)
        if inbound.value.on_premises and inbound.value.tls_sender_certificate_name:
            _certificate_tie(inbound, domains.get(inbound.value.organisation), documents, report)
    own = [inbound for inbound in documents.inbound if inbound.value.on_premises and inbound.value.enabled]
    _shared_addresses(own, report)
    _shared_certificates(own, report)
    _rules(documents, catalog, report)
    _relay_needs_connector(documents, report)
    check_named_lists(documents, catalog, report)
    check_stores(documents, report)
    check_enhanced_filtering(documents, report)
    check_anti_phishing(documents, report)
    check_dkim_signing(documents, domains, report)
    check_reporting(documents, report)


def accepted_by_organisation(domains: Iterable[Written[AcceptedDomain]]) -> dict[str, DomainMap[AcceptedDomain]]:
    """Per organisation its accepted domains, with the names that match_sub_domains adds; proven or not."""
    found: dict[str, list[tuple[str, AcceptedDomain]]] = {}
    for written in domains:
        found.setdefault(written.value.organisation, []).extend(patterns_of(written.value))
    return {organisation: DomainMap(entries) for organisation, entries in found.items()}


def patterns_of(domain: AcceptedDomain) -> Iterator[tuple[str, AcceptedDomain]]:
    """The patterns under which an accepted domain is found."""
    yield domain.domain_name, domain
    if domain.match_sub_domains:
        yield f"*.{domain.domain_name}", domain


def certificate_proves_alone(name: str, domains: DomainMap[AcceptedDomain] | None) -> bool:
    """Whether a certificate of this configured name attributes mail by itself (specification 2.3 rule 8).

    `*.contoso.com` does if contoso.com is accepted, `mail.contoso.com` if that very name is.
    """
    return domains is not None and domains.find(name.removeprefix("*.")) is not None


def _organisations(documents: Documents, report: Report) -> None:
    known = {written.value.name for written in documents.organisations}
    for written in documents.everything():
        wanted = [("organisation", getattr(written.value, "organisation", ""))]
        wanted += [("trusted_organizations", name) for name in getattr(written.value, "trusted_organizations", ())]
        for key, name in wanted:
            if name and name not in known and not documents.may_hold("organisation", name):
                report.wrong(written, (key,), f"there is no organisation '{name}'{nearest(name, known)}")


def _twice(documents: Documents, report: Report) -> None:
    seen: dict[tuple[str, str, str], Written[Any]] = {}
    for written in documents.everything():
        value = written.value
        key = name_key(written.table)
        name = getattr(value, key)
        place = (written.table, getattr(value, "organisation", ""), name.casefold())
        first = seen.setdefault(place, written)
        if first is not written:
            where = report.places.problem(first.file, (first.table, first.index), "")
            message = (
                f"'{name}' is there already, in {where.file} line {where.line}; names must differ (case does not count)"
            )
            report.wrong(written, (key, "organisation"), message)


def _domains_of_one(documents: Documents, report: Report) -> None:
    default: dict[str, str] = {}
    for written in documents.domains:
        domain = written.value
        if domain.default and default.setdefault(domain.organisation, domain.domain_name) != domain.domain_name:
            message = f"{default[domain.organisation]} is the default domain already; there is one"
            report.wrong(written, ("default", "organisation"), message)


def _other_recipients(documents: Documents, report: Report) -> None:
    """Alias domains lead to a domain that has recipients of its own; what a catch-all is, and what it rules out."""
    own = {(one.value.organisation, one.value.domain_name): one.value for one in documents.domains}
    for written in documents.domains:
        domain = written.value
        if domain.alias_of:
            target = own.get((domain.organisation, domain.alias_of))
            if target is None and not documents.may_hold("accepted_domain"):
                near = nearest(domain.alias_of, {name for _, name in own})
                message = f"{domain.alias_of} is no accepted domain of the organisation{near}"
                report.wrong(written, ("alias_of", "organisation"), message)
            elif target is not None and (target.alias_of or target is domain):
                message = f"{domain.alias_of} is an alias itself; name the domain whose recipients are meant"
                report.wrong(written, ("alias_of",), message)
        if not domain.catch_all_recipient_id:
            continue
        if domain.recipient_validation == "call_forward":
            message = "a catch-all takes every address, so the next hop would never be asked; leave one of them out"
            report.wrong(written, ("recipient_validation", "catch_all_recipient_id"), message)
        if any(c.isspace() for c in domain.catch_all_recipient_id):
            message = "this is no address and no local part, so nobody is the catch-all"
            report.doubtful(written, ("catch_all_recipient_id",), message)


def _domain_owners(documents: Documents, report: Report) -> None:
    """What one organisation has proven, no other may add, nor a name below it (amendments)."""
    proven = DomainMap((f"*.{written.value.domain_name}", written) for written in _receiving(documents))
    for written in documents.domains:
        domain = written.value
        for holder in proven.every(domain.domain_name):
            if holder.value.organisation == domain.organisation:
                continue
            same = holder.value.domain_name == domain.domain_name
            what = "it" if same else f"{holder.value.domain_name} above it"
            message = f"{domain.domain_name} cannot be added: another organisation has proven {what}"
            report.wrong(written, ("domain_name", "organisation"), message)
            break


def _receiving(documents: Documents) -> Iterator[Written[AcceptedDomain]]:
    """Proven domains, the earliest proof last, so that it holds where two claim one domain."""
    receiving = [written for written in documents.domains if written.value.receives]
    return iter(sorted(receiving, key=_proof_age, reverse=True))


def _proof_age(written: Written[AcceptedDomain]) -> tuple[float, str]:
    at = written.value.proven_at
    return (at.timestamp() if at is not None and at.tzinfo is not None else 0.0, written.value.organisation)


def _scope(
    written: Written[InboundConnector], domains: DomainMap[AcceptedDomain] | None, documents: Documents, report: Report
) -> None:
    broken = documents.may_hold("accepted_domain")
    for index, name in enumerate(written.value.associated_accepted_domains):
        if not broken and (domains is None or domains.find(name) is None):
            message = f"{name} is no accepted domain of the organisation; the connector would act on nothing"
            report.wrong(written, (("associated_accepted_domains", index), "organisation"), message)


def _certificate_tie(
    written: Written[InboundConnector], domains: DomainMap[AcceptedDomain] | None, documents: Documents, report: Report
) -> None:
    name = written.value.tls_sender_certificate_name or ""
    keys = ("tls_sender_certificate_name", "organisation", "connector_type")
    if certificate_proves_alone(name, domains) or documents.may_hold("accepted_domain"):
        return
    base = name.removeprefix("*.")
    if not name.startswith("*.") and domains is not None and _above(base, domains):
        message = (
            f"{base} itself is no accepted domain, so the certificate alone does not make mail the organisation's: "
            "only mail with a sender of its own domains is relayed; add the name as accepted domain to change that"
        )
        report.doubtful(written, keys, message)
        return
    need = f"{base} must be an accepted domain of the organisation"
    report.wrong(written, keys, f"the certificate's name does not tie back to the organisation; {need}")


def _above(name: str, domains: DomainMap[AcceptedDomain]) -> bool:
    """Whether a name above this one is accepted."""
    rest = name.partition(".")[2]
    while rest:
        if domains.find(rest) is not None:
            return True
        rest = rest.partition(".")[2]
    return False


def _shared_addresses(own: list[Written[InboundConnector]], report: Report) -> None:
    """An address of two organisations' own servers would say nothing about whose mail it is (threats 3.3)."""
    entries: dict[Network, _Holders] = {}
    for written in own:
        for entry in written.value.sender_ip_addresses:
            for network in parse_networks(entry):
                entries.setdefault(network, {}).setdefault(written.value.organisation, written)
    known = NetworkMap((network, (network, holders)) for network, holders in entries.items())
    for written in own:
        for index, entry in enumerate(written.value.sender_ip_addresses):
            other = _other_holder(written.value.organisation, known, parse_networks(entry))
            if other is not None:
                message = (
                    f"{entry} is also on '{other.value.name}', a connector of another organisation; an address belongs "
                    "to the own servers of one organisation only, use a certificate instead"
                )
                report.wrong(written, (("sender_ip_addresses", index), "organisation", "connector_type"), message)


_Holders = dict[str, Written[InboundConnector]]
"""By organisation one of the connectors that hold a network or a certificate name."""


def _other_holder(
    organisation: str, known: NetworkMap[tuple[Network, _Holders]], networks: Iterable[Network]
) -> Written[InboundConnector] | None:
    """A connector of another organisation whose network holds one of these; an overlap is told at the smaller one."""
    for network in networks:
        for theirs, holders in known.every(network.packed):
            if theirs.length <= network.length:
                for other, written in holders.items():
                    if other != organisation:
                        return written
    return None


def _shared_certificates(own: list[Written[InboundConnector]], report: Report) -> None:
    """One certificate must not attribute mail to two organisations (specification 2.2)."""
    names: dict[str, _Holders] = {}
    for written in own:
        if name := written.value.tls_sender_certificate_name:
            names.setdefault(name, {}).setdefault(written.value.organisation, written)
    known = DomainMap(names.items())
    for written in own:
        name = written.value.tls_sender_certificate_name
        if not name:
            continue
        covering = known.every(name.removeprefix("*."))
        others = (
            other for holders in covering for mine, other in holders.items() if mine != written.value.organisation
        )
        other = next(others, None)
        if other is not None:
            message = (
                f"{name} is also covered by '{other.value.name}', a connector of another organisation; "
                "a certificate belongs to the own servers of one organisation only"
            )
            report.wrong(written, ("tls_sender_certificate_name", "organisation", "connector_type"), message)


def _rules(documents: Documents, catalog: Catalog, report: Report) -> None:
    outbound = {(w.value.organisation, w.value.name): w.value for w in documents.outbound}
    priorities: dict[tuple[str, int], str] = {}
    for written in documents.rules:
        rule = written.value
        if rule.priority is not None:
            first = priorities.setdefault((rule.organisation, rule.priority), rule.name)
            if first != rule.name:
                message = f"rule '{first}' has priority {rule.priority} already; give each rule its own"
                report.wrong(written, ("priority", "organisation", "name"), message)
        for key, name in references(rule, catalog):
            connector = outbound.get((rule.organisation, name))
            if connector is None and not documents.may_hold("outbound_connector", name):
                known = [other for organisation, other in outbound if organisation == rule.organisation]
                message = f"there is no outbound connector '{name}'{nearest(name, known)}"
                report.wrong(written, (key, "organisation"), message)
            elif connector is not None and not connector.enabled:
                message = f"connector '{name}' is disabled; mail for it waits and goes no other way"
                report.doubtful(written, (key, "organisation"), message)


def references(rule: MailFlowRule, catalog: Catalog) -> Iterator[tuple[Key, str]]:
    """The place and the name of every outbound connector that a rule names, also in groups of conditions."""
    written = [((key,), getattr(rule, key)) for key in said_in(rule) if key in catalog.actions]
    for key, value in (*written, *written_in(rule, catalog)):
        if isinstance(value, Refers):  # asking a protocol is slow, and most are not there
            yield from ((key, name) for table, name in value.refers_to() if table == "outbound_connector")


def _relay_needs_connector(documents: Documents, report: Report) -> None:
    """Unknown recipients of an internal relay domain are relayed; without a connector by MX, perhaps back to us."""
    ways: dict[str, list[tuple[str, bool]]] = {}
    everywhere: set[str] = set()
    for written in documents.outbound:
        connector = written.value
        if not connector.enabled or connector.is_transport_rule_scoped:
            continue
        if connector.all_accepted_domains or connector.route_all_messages_via_on_premises:
            everywhere.add(connector.organisation)
        ways.setdefault(connector.organisation, []).extend((pattern, True) for pattern in connector.recipient_domains)
    maps = {organisation: DomainMap(entries, apex=False) for organisation, entries in ways.items()}
    for domain in documents.domains:
        value = domain.value
        if value.domain_type is not DomainType.INTERNAL_RELAY or value.organisation in everywhere:
            continue
        found = maps.get(value.organisation)
        if found is None or found.find(value.domain_name) is None:
            report.doubtful(
                domain,
                ("domain_type", "domain_name"),
                f"no outbound connector is for {value.domain_name}, whose unknown recipients are relayed",
                why="they would go by MX, which may lead back to this server",
                mend=f"add an outbound connector with '{value.domain_name}' in recipient_domains and your servers as "
                "smart_hosts",
            )
