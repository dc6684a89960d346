"""From documents to the compiled policy, cross references checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from lockgate.policy import checks
from lockgate.policy.catalog import Catalog
from lockgate.policy.documents import Documents, Invalid, Place, Written, read_documents
from lockgate.policy.networks import Network, parse_networks
from lockgate.policy.objects.connectors import InboundConnector, OutboundConnector
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.objects.organisation import Organisation
from lockgate.policy.objects.peers import ConnectionFilter, Operator
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.policy import OrganisationPolicy, OutboundIndex, OwnServers, PartnerIndex, PeerLists, Policy
from lockgate.policy.rules import CompiledRule, CompiledRules
from lockgate.policy.tries import DomainMap, NetworkMap

T = TypeVar("T")
_AFTER_ALL = 1_000_001
"""The priority of the first rule that names none: after all that do."""


def compile_policy(
    files: Mapping[str, str], *, hostname: str, revision: int, catalog: Catalog | None = None
) -> Policy:
    """The policy that these texts ({file name: TOML}) describe. Raises Invalid with all mistakes."""
    documents = read_documents(files, catalog or Catalog.collect())
    organisations = {one.made.name: one.made for one in documents.objects["organisation"]}
    found = {kind: _owned(documents, kind, organisations) for kind in documents.objects if kind != "organisation"}
    _refuse_twins(documents, found)
    domains = {one.made.domain_name: one.made for one in found["accepted_domain"]}
    _check(documents, found, domains, organisations)
    if documents.problems:
        raise Invalid(tuple(sorted(documents.problems, key=lambda p: (p.file, p.line, p.path))))
    return _built(documents, found, organisations, hostname, revision)


def _owned(documents: Documents, kind: str, organisations: Mapping[str, Organisation]) -> list[Written]:
    """The objects of one kind, each with its organisation; with one organisation it need not be said."""
    only = next(iter(organisations)) if len(organisations) == 1 else ""
    owned: list[Written] = []
    for made, place in documents.objects[kind]:
        named = made.organisation or only
        if named in organisations:
            owned.append(Written(made if made.organisation else made.model_copy(update={"organisation": named}), place))
        elif made.organisation:
            documents.complain(place, f"there is no organisation {named}", "organisation")
        elif not organisations:
            documents.complain(place, "there is no [[organisation]] yet; write one first")
        else:
            documents.complain(place, f"say which organisation it belongs to: {', '.join(sorted(organisations)[:5])}")
    return owned


def _refuse_twins(documents: Documents, found: Mapping[str, Sequence[Written]]) -> None:
    """Names are unique: a domain everywhere, everything else within its organisation."""
    seen: dict[tuple[str, str, str], Place] = {}
    for kind, objects in (("organisation", documents.objects["organisation"]), *found.items()):
        for made, place in objects:
            match kind:
                case "organisation":
                    identity, shown = ("", made.name), f"the organisation {made.name}"
                case "accepted_domain":
                    identity, shown = ("", made.domain_name), f"the domain {made.domain_name}"
                case "connection_filter":
                    identity, shown = (made.organisation, ""), f"the connection filter of {made.organisation}"
                case _:
                    identity, shown = (made.organisation, made.name.casefold()), f"{kind.replace('_', ' ')} {made.name}"
            first = seen.setdefault((kind, *identity), place)
            if first is not place:
                documents.complain(place, f"{shown} stands in {first.file} already; there can be only one")


def _check(
    documents: Documents,
    found: Mapping[str, list[Written]],
    domains: Mapping[str, AcceptedDomain],
    organisations: Mapping[str, Organisation],
) -> None:
    checks.check_domains(documents, found["accepted_domain"])
    checks.check_inbound(documents, found["inbound_connector"], domains)
    checks.check_shared(documents, found["inbound_connector"])
    checks.check_compatible_connectors(documents, found["inbound_connector"], organisations)
    checks.check_outbound(documents, found["outbound_connector"])
    checks.check_filters(documents, found["connection_filter"], organisations)
    checks.check_rules(documents, found["mail_flow_rule"], found["outbound_connector"])
    checks.check_rule_count(documents, found["mail_flow_rule"], organisations)


def _built(
    documents: Documents,
    found: Mapping[str, list[Written]],
    organisations: Mapping[str, Organisation],
    hostname: str,
    revision: int,
) -> Policy:
    operator = documents.operator.made if documents.operator is not None else Operator()
    domains: list[AcceptedDomain] = [one.made for one in found["accepted_domain"]]
    inbound: list[InboundConnector] = [one.made for one in found["inbound_connector"] if one.made.enabled]
    own = [connector for connector in inbound if connector.connector_type == "on_premises"]
    by_owner = {kind: _by_owner(objects) for kind, objects in found.items()}
    return Policy(
        digest=_digest(organisations.values(), operator, found),
        revision=revision,
        hostname=hostname,
        limits=operator.limits,
        operator_peers=PeerLists(_networks(operator.ip_allow_list), _networks(operator.ip_block_list)),
        domains=DomainMap(
            (pattern, domain)
            for domain in domains
            if domain.receives
            for pattern in (domain.domain_name, *((f"*.{domain.domain_name}",) if domain.match_sub_domains else ()))
        ),
        own_servers=_own_servers(own),
        own_by_address=_by_address(own),
        organisations={
            name: _organisation(one, {kind: owners.get(name, []) for kind, owners in by_owner.items()})
            for name, one in organisations.items()
        },
        postmasters={name: _postmaster(one, domains) for name, one in organisations.items()},
        warnings=tuple(_warnings(domains, by_owner)),
    )


def _by_owner(objects: Iterable[Written]) -> dict[str, list[Any]]:
    owners: dict[str, list[Any]] = {}
    for made, _ in objects:
        owners.setdefault(made.organisation, []).append(made)
    return owners


def _organisation(organisation: Organisation, mine: Mapping[str, list[Any]]) -> OrganisationPolicy:
    filters: list[ConnectionFilter] = mine["connection_filter"]
    allow = filters[0].ip_allow_list if filters else ()
    block = filters[0].ip_block_list if filters else ()
    partners = [c for c in mine["inbound_connector"] if c.enabled and c.connector_type == "partner"]
    stores = {c.ca_file: None for c in mine["inbound_connector"] if c.enabled and c.ca_file}
    return OrganisationPolicy(
        organisation,
        tuple(stores),
        _partners(partners),
        _outbound(mine["outbound_connector"]),
        PeerLists(_networks(allow), _networks(block)),
        CompiledRules(_rule(rule, number) for number, rule in enumerate(mine["mail_flow_rule"])),
    )


def _partners(connectors: list[InboundConnector]) -> PartnerIndex:
    def patterns(connector: InboundConnector) -> Iterable[str]:
        for pattern in connector.sender_domains:
            if pattern != "*":
                yield pattern
            if pattern.startswith("*."):
                yield pattern[2:]

    return PartnerIndex(
        _by_address(connectors),
        DomainMap(_grouped(connectors, patterns).items()),
        tuple(connector for connector in connectors if "*" in connector.sender_domains),
    )


def _outbound(connectors: list[OutboundConnector]) -> OutboundIndex:
    able = [c for c in connectors if c.enabled and not c.is_transport_rule_scoped]
    able.sort(key=lambda c: (c.cost, c.name))
    exact = _grouped(able, lambda c: (p for p in c.recipient_domains if "*" not in p))
    wildcard = _grouped(able, lambda c: (p for p in c.recipient_domains if p.startswith("*.")))
    return OutboundIndex(
        exact=exact,
        wildcard=DomainMap(wildcard.items()),
        all_accepted=tuple(c for c in able if c.all_accepted_domains),
        everything=tuple(c for c in able if "*" in c.recipient_domains),
        central=tuple(c for c in able if c.route_all_messages_via_on_premises),
        named={c.name: c for c in connectors},
    )


def _own_servers(connectors: Iterable[InboundConnector]) -> OwnServers:
    named = [c for c in connectors if c.tls_sender_certificate_name]

    def name(connector: InboundConnector) -> str:
        return connector.tls_sender_certificate_name or ""

    exact = [c for c in named if not name(c).startswith("*.")]
    return OwnServers(
        exact=_grouped(exact, lambda c: (name(c),)),
        below=_grouped((c for c in named if name(c).startswith("*.")), lambda c: (name(c)[2:],)),
        parents=_grouped(exact, lambda c: (name(c).partition(".")[2],)),
    )


def _grouped(objects: Iterable[T], keys: Callable[[T], Iterable[str]]) -> dict[str, tuple[T, ...]]:
    groups: dict[str, list[T]] = {}
    for one in objects:
        for key in dict.fromkeys(keys(one)):
            groups.setdefault(key, []).append(one)
    return {key: tuple(group) for key, group in groups.items()}


def _by_address(connectors: Iterable[InboundConnector]) -> NetworkMap[tuple[InboundConnector, ...]]:
    groups: dict[Network, list[InboundConnector]] = {}
    for connector in connectors:
        for text in connector.sender_ip_addresses:
            for network in parse_networks(text):
                group = groups.setdefault(network, [])
                if not any(other is connector for other in group):
                    group.append(connector)
    return NetworkMap((network, tuple(group)) for network, group in groups.items())


def _networks(texts: Iterable[str]) -> NetworkMap[str]:
    return NetworkMap((network, text) for text in texts for network in parse_networks(text))


def _rule(rule: MailFlowRule, number: int) -> CompiledRule:
    narrow = [made.narrows() for _, made in rule.conditions if hasattr(made, "narrows")]
    return CompiledRule(
        name=rule.name,
        priority=_AFTER_ALL + number if rule.priority is None else rule.priority,
        enabled=rule.enabled,
        when=tuple(made.compile() for _, made in rule.conditions),
        unless=tuple(made.compile() for _, made in rule.exceptions),
        then=tuple(made.compile() for _, made in rule.actions),
        stop=rule.stop_rule_processing,
        domains=min(narrow, key=len) if narrow else None,
    )


def _postmaster(organisation: Organisation, domains: Iterable[AcceptedDomain]) -> str:
    if organisation.external_postmaster_address:
        return organisation.external_postmaster_address
    mine = [domain for domain in domains if domain.organisation == organisation.name and domain.receives]
    chosen = next((domain for domain in mine if domain.default), mine[0] if mine else None)
    return f"postmaster@{chosen.domain_name}" if chosen else ""


def _warnings(domains: Iterable[AcceptedDomain], by_owner: Mapping[str, Mapping[str, list[Any]]]) -> Iterable[str]:
    for domain in domains:
        if not domain.receives:
            yield f"{domain.domain_name} receives nothing: it is not proven, and the operator does not vouch for it"
    for connectors in by_owner["inbound_connector"].values():
        for c in connectors:
            if c.connector_type == "on_premises" and (
                c.restrict_domains_to_ip_addresses or c.restrict_domains_to_certificate
            ):
                yield f"inbound connector {c.name}: restrictions act on partner connectors only and do nothing here"
            if c.connector_type == "partner" and c.sender_ip_addresses and c.tls_sender_certificate_name:
                yield f"inbound connector {c.name}: address and certificate must both hold; certificate alone is better"
            if c.allow_common_name:
                yield f"inbound connector {c.name}: the common name is no proof that authorities check; use SAN names"
    for connectors in by_owner["outbound_connector"].values():
        for c in connectors:
            if c.all_accepted_domains and "*" in c.recipient_domains:
                yield f"outbound connector {c.name}: with * it takes all mail to the Internet too"


def _digest(organisations: Iterable[Organisation], operator: Operator, found: Mapping[str, Sequence[Written]]) -> str:
    """The same for the same wishes, whatever the order of files and the comments in them."""
    parts = [json.dumps(["operator", operator.model_dump(mode="json")], sort_keys=True)]
    parts += [json.dumps(["organisation", one.model_dump(mode="json")], sort_keys=True) for one in organisations]
    for kind, objects in found.items():
        parts += [json.dumps([kind, made.model_dump(mode="json")], sort_keys=True) for made, _ in objects]
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()
