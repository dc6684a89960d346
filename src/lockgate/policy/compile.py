"""Documents to Policy: read, check, index. Pure: the texts are handed in."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from lockgate.mail.ruling import RuleHit
from lockgate.policy.catalog import Catalog, standard
from lockgate.policy.checks import Report, check_objects
from lockgate.policy.compatibility import check_compatibility
from lockgate.policy.dkim_signing import signing_domain, signing_of
from lockgate.policy.documents import Documents, Places, Written, read
from lockgate.policy.enhanced_filtering import enhanced_of
from lockgate.policy.groups import compiled, tests_of
from lockgate.policy.kinds import EvenOnAudit, LooksAtCase, is_left_out
from lockgate.policy.linter import lint
from lockgate.policy.networks import parse_networks
from lockgate.policy.objects.anti_phishing import AntiPhishingPolicy
from lockgate.policy.objects.arc import ArcConfig
from lockgate.policy.objects.connectors import InboundConnector, OutboundConnector
from lockgate.policy.objects.dkim_signing import DkimSigningConfig
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.objects.named_lists import NamedList
from lockgate.policy.objects.organisation import Organisation
from lockgate.policy.objects.peers import Operator
from lockgate.policy.objects.remote_domains import RemoteDomain
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.objects.stores import MailboxStore
from lockgate.policy.ordering import rules_in_order
from lockgate.policy.policy import OrganisationPolicy, OutboundIndex, PartnerIndex, PeerLists, Policy
from lockgate.policy.problems import Invalid, Problem
from lockgate.policy.reading import Context
from lockgate.policy.rules import CompiledRule, CompiledRules
from lockgate.policy.ties import certificate_proves_alone, check_ties, patterns_of
from lockgate.policy.tries import CertificateNames, DomainMap, NetworkMap


class Understood(NamedTuple):
    """What documents come to: the compiled policy, and the objects with the places where they are written."""

    policy: Policy
    documents: Documents
    places: Places


def compile_policy(
    files: Mapping[str, str],
    *,
    hostname: str,
    revision: int,
    catalog: Catalog | None = None,
    advise: bool = True,
    keeps_mailboxes: bool = False,
) -> Policy:
    """The policy of these documents ({file name: TOML text}). Raises Invalid with every mistake that was found.

    `hostname` is the name of this server (A-label), `revision` the number under which the policy is kept.
    `catalog` are the conditions and actions there are; without it, those that Lockgate brings. Without `advise` the
    policy has no warnings, whose places take as long to find as everything else. `keeps_mailboxes` tells that the
    operator's file says where hosted mailboxes lie.
    """
    return understand(
        files,
        hostname=hostname,
        revision=revision,
        catalog=catalog,
        advise=advise,
        keeps_mailboxes=keeps_mailboxes,
    ).policy


def understand(
    files: Mapping[str, str],
    *,
    hostname: str,
    revision: int,
    catalog: Catalog | None = None,
    advise: bool = True,
    keeps_mailboxes: bool = False,
) -> Understood:
    """The same, with the objects the policy was made of."""
    catalog = catalog or standard()
    documents, report = _looked_at(files, hostname, catalog, advise=advise)
    if report.problems:
        raise Invalid(tuple(sorted(set(report.problems))))
    warnings = tuple(sorted(set(report.warnings)))
    policy = _build(documents, catalog, hostname, revision, warnings, keeps_mailboxes=keeps_mailboxes)
    return Understood(policy, documents, report.places)


def mistakes_beside(files: Mapping[str, str]) -> tuple[Problem, ...]:
    """What is wrong with these texts, while others beside them cannot be read; what may follow from those is left out.

    The name of this server is not known here, so smart hosts that are this server are not told.
    """
    _, report = _looked_at(files, "", standard(), advise=False, gaps=True)
    return tuple(sorted(set(report.problems)))


def _looked_at(
    files: Mapping[str, str], hostname: str, catalog: Catalog, *, advise: bool, gaps: bool = False
) -> tuple[Documents, Report]:
    documents, problems, places = read(files, catalog, gaps=gaps)
    report = Report(places, problems, advise=advise)
    check_objects(documents, hostname, report)
    check_ties(documents, catalog, report)
    check_compatibility(documents, report)
    lint(documents, catalog, report)
    return documents, report


def _build(
    documents: Documents,
    catalog: Catalog,
    hostname: str,
    revision: int,
    warnings: tuple[Problem, ...],
    *,
    keeps_mailboxes: bool,
) -> Policy:
    operator = documents.operator.value if documents.operator is not None else Operator()
    accepted = [written.value for written in documents.domains]
    domains = _receiving(accepted)
    inbound = [written.value for written in documents.inbound]
    own = [connector for connector in inbound if connector.on_premises and connector.enabled]
    mine = _Grouped(documents)
    organisations = {
        written.value.name: _organisation(written.value, mine, catalog, hostname) for written in documents.organisations
    }
    return Policy(
        digest=_digest(documents),
        revision=revision,
        hostname=hostname,
        limits=operator.limits,
        operator_peers=_peers(operator.ip_allow_list, operator.ip_block_list),
        domains=domains,
        own_by_certificate=_by_certificate(own),
        own_by_address=NetworkMap(
            ((network, tuple(group)) for network, group in _by_address(own).items()), merge=_both
        ),
        organisations=MappingProxyType(organisations),
        alone=frozenset(_alone(own, domains)),
        warnings=warnings,
        keeps_mailboxes=keeps_mailboxes,
    )


def _alone(own: Iterable[InboundConnector], domains: DomainMap[AcceptedDomain]) -> Iterable[tuple[str, str]]:
    for connector in own:
        name = connector.tls_sender_certificate_name
        if name and certificate_proves_alone(name, domains):
            holder = domains.find(name.removeprefix("*."))
            if holder is not None and holder.organisation == connector.organisation:
                yield connector.organisation, connector.name


class _Grouped:
    """The objects of each organisation."""

    def __init__(self, documents: Documents) -> None:
        self.domains: dict[str, list[AcceptedDomain]] = _by_organisation(documents.domains)
        self.inbound: dict[str, list[InboundConnector]] = _by_organisation(documents.inbound)
        self.outbound: dict[str, list[OutboundConnector]] = _by_organisation(documents.outbound)
        self.peers = {
            w.value.organisation: _peers(w.value.ip_allow_list, w.value.ip_block_list, w.value.gateway_ip_addresses)
            for w in documents.filters
        }
        self.remote: dict[str, list[RemoteDomain]] = _by_organisation(documents.remote)
        self.stores: dict[str, list[MailboxStore]] = _by_organisation(documents.stores)
        self.anti_phishing: dict[str, list[AntiPhishingPolicy]] = _by_organisation(documents.anti_phishing)
        self.arc: dict[str, list[ArcConfig]] = _by_organisation(documents.arc)
        self.signing: dict[str, list[DkimSigningConfig]] = _by_organisation(documents.signing)
        self.lists: dict[str, list[NamedList]] = _by_organisation(documents.lists)
        self.rules: dict[str, list[Written[MailFlowRule]]] = {}
        for written in documents.rules:
            self.rules.setdefault(written.value.organisation, []).append(written)


def _by_organisation(objects: Iterable[Written[Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for written in objects:
        found.setdefault(written.value.organisation, []).append(written.value)
    return found


def _organisation(organisation: Organisation, mine: _Grouped, catalog: Catalog, hostname: str) -> OrganisationPolicy:
    name = organisation.name
    domains = tuple(mine.domains.get(name, ()))
    inbound = mine.inbound.get(name, [])
    signing = signing_of(mine.signing.get(name, ()))
    return OrganisationPolicy(
        organisation=organisation,
        partners=_partners([connector for connector in inbound if connector.enabled and not connector.on_premises]),
        outbound=_outbound(mine.outbound.get(name, [])),
        peers=mine.peers.get(name) or PeerLists(NetworkMap(), NetworkMap()),
        rules=_rules(mine.rules.get(name, []), catalog, _receiving(domains), name, mine.lists.get(name, ()), hostname),
        inbound=MappingProxyType({connector.name: connector for connector in inbound}),
        accepted=domains,
        remote=DomainMap((remote.domain_name, remote) for remote in mine.remote.get(name, ())),
        store=next(iter(sorted(mine.stores.get(name, ()), key=lambda store: (not store.enabled, store.name))), None),
        anti_phishing=next((one for one in mine.anti_phishing.get(name, ()) if one.enabled), None),
        enhanced=enhanced_of(inbound),
        signing=signing,
        signing_domain=signing_domain(domains, signing),
        postmaster=organisation.external_postmaster_address or f"postmaster@{default_domain(domains) or hostname}",
        trusted_sealers=frozenset(domain for one in mine.arc.get(name, ()) for domain in one.trusted_arc_sealers),
        rewriting_domain=next((one.domain_name for one in domains if one.default and _hears(one)), ""),
        home_domain=default_domain(tuple(one for one in domains if not one.coexistence and not one.alias_of)),
        hybrid=any(one.enabled and one.on_premises and one.cloud_services_mail_enabled for one in inbound),
    )


def _hears(domain: AcceptedDomain) -> bool:
    """Whether mail to the domain comes to us."""
    return domain.receives and not domain.outbound_only and not domain.sending_to_domain_disabled


def default_domain(domains: tuple[AcceptedDomain, ...]) -> str:
    """The domain marked as default, else the initial one, else the first by name; those that receive come first.

    A coexistence domain is how two sides address each other, nothing that people should see.
    """
    ranked = sorted(
        domains, key=lambda d: (not d.default, d.coexistence, not d.receives, not d.initial_domain, d.domain_name)
    )
    return ranked[0].domain_name if ranked else ""


def _partners(partners: list[InboundConnector]) -> PartnerIndex:
    by_sender: dict[str, list[InboundConnector]] = {}
    by_organisation: dict[str, list[InboundConnector]] = {}
    for connector in partners:
        for organisation in dict.fromkeys(connector.trusted_organizations):
            by_organisation.setdefault(organisation, []).append(connector)
    partners = [connector for connector in partners if not connector.trusted_organizations]
    for connector in partners:
        for pattern in dict.fromkeys(connector.sender_domains):
            by_sender.setdefault(pattern, []).append(connector)
    any_sender = tuple(by_sender.pop("*", ()))
    return PartnerIndex(
        by_certificate=_by_certificate(partners),
        by_address=NetworkMap((network, tuple(group)) for network, group in _by_address(partners).items()),
        by_sender=DomainMap((pattern, tuple(group)) for pattern, group in by_sender.items()),
        any_sender=any_sender,
        by_organisation=MappingProxyType({name: tuple(group) for name, group in by_organisation.items()}),
    )


def _by_certificate(connectors: Iterable[InboundConnector]) -> CertificateNames[InboundConnector]:
    named = ((connector.tls_sender_certificate_name, connector) for connector in connectors)
    return CertificateNames((name, connector) for name, connector in named if name)


def _by_address(connectors: Iterable[InboundConnector]) -> dict[Any, list[InboundConnector]]:
    found: dict[Any, list[InboundConnector]] = {}
    for connector in connectors:
        networks = (network for entry in connector.sender_ip_addresses for network in parse_networks(entry))
        for network in dict.fromkeys(networks):
            found.setdefault(network, []).append(connector)
    return found


def _both(inner: tuple[InboundConnector, ...], outer: tuple[InboundConnector, ...]) -> tuple[InboundConnector, ...]:
    """The connectors of a network and of the one around it; models are compared by identity, which is cheap."""
    seen = {id(connector) for connector in inner}
    return inner + tuple(connector for connector in outer if id(connector) not in seen)


def _outbound(connectors: list[OutboundConnector]) -> OutboundIndex:
    exact: dict[str, list[OutboundConnector]] = {}
    wildcard: dict[str, list[OutboundConnector]] = {}
    everything: list[OutboundConnector] = []
    ranked = sorted(connectors, key=lambda c: (c.cost, c.name.casefold(), c.name))
    usable = [connector for connector in ranked if connector.enabled and not connector.is_transport_rule_scoped]
    for connector in usable:
        for pattern in dict.fromkeys(connector.recipient_domains):
            if pattern == "*":
                everything.append(connector)
            elif pattern.startswith("*."):
                wildcard.setdefault(pattern, []).append(connector)
            else:
                exact.setdefault(pattern, []).append(connector)
    return OutboundIndex(
        exact=MappingProxyType({domain: tuple(group) for domain, group in exact.items()}),
        wildcard=DomainMap(((pattern, tuple(group)) for pattern, group in wildcard.items()), apex=False),
        all_accepted=tuple(connector for connector in usable if connector.all_accepted_domains),
        everything=tuple(everything),
        central=tuple(connector for connector in usable if connector.route_all_messages_via_on_premises),
        named=MappingProxyType({connector.name: connector for connector in connectors}),
    )


def _peers(allow: Iterable[str], block: Iterable[str], gateways: Iterable[str] = ()) -> PeerLists:
    return PeerLists(
        *(
            NetworkMap((network, entry) for entry in entries for network in parse_networks(entry))
            for entries in (allow, block, gateways)
        )
    )


def _receiving(domains: Iterable[AcceptedDomain]) -> DomainMap[AcceptedDomain]:
    return DomainMap(entry for domain in domains if domain.receives for entry in patterns_of(domain))


def _rules(
    rules: list[Written[MailFlowRule]], catalog: Catalog, own: DomainMap[AcceptedDomain], organisation: str,
    lists: Iterable[NamedList], hostname: str,
) -> CompiledRules:  # fmt: skip
    context = Context(own, organisation, {one.name: one.kind for one in lists}, hostname)
    compiled = tuple(_rule(rule.value, priority, catalog, context) for priority, rule in rules_in_order(rules))
    context.seal()
    return CompiledRules(
        compiled,
        tuple(context.asks),
        MappingProxyType(context.searches),
        MappingProxyType(context.among),
        MappingProxyType(context.notes),
        context.everybody_it_is_from,
        MappingProxyType(context.looks),
    )


def _rule(rule: MailFlowRule, priority: int, catalog: Catalog, context: Context) -> CompiledRule:
    tests = tests_of(rule, rule, catalog, context)
    actions = [value for name in catalog.actions if (value := getattr(rule, name)) is not None]
    actions.sort(key=is_left_out)  # what is held for them has no end of its own already
    finding = [value for value in actions if isinstance(value, LooksAtCase)]
    changes = {id(value): compiled(value, context, rule) for value in actions if not isinstance(value, LooksAtCase)}
    return CompiledRule(
        name=rule.name,
        priority=priority,
        enabled=rule.enabled,
        when=tests.when,
        unless=tests.unless,
        then=tuple(changes.values()),
        stop=rule.stop_rule_processing,
        bounds=tests.bounds,
        defer_on_unknown=rule.rule_error_action == "defer",
        by_domain=tests.by_domain and not (rule.activation_date or rule.expiry_date or finding),
        audit=rule.mode != "enforce",
        begins=rule.activation_date.timestamp() if rule.activation_date is not None else -math.inf,
        ends=rule.expiry_date.timestamp() if rule.expiry_date is not None else math.inf,
        even_so=tuple(
            changes[id(value)] for value in actions if isinstance(value, EvenOnAudit) and rule.mode in value.even_on
        ),
        finds=tuple(value.compile_for(context, rule) for value in finding),
        hit=RuleHit(rule.name, rule.mode, rule.set_audit_severity, _acts(rule, catalog)),
    )


def _acts(rule: MailFlowRule, catalog: Catalog) -> tuple[str, ...]:
    """The actions of a rule by their keys."""
    acts = tuple(name for name in catalog.actions if getattr(rule, name) is not None)
    return (*acts, "stop_rule_processing") if rule.stop_rule_processing else acts


def _digest(documents: Documents) -> str:
    """SHA-256 over all objects in an order of their own, so that files, comments and order of writing do not count."""
    lines = [
        _line(written, written.value.model_dump_json())
        for written in documents.everything()
        if written.table != "mail_flow_rule"
    ]
    rules: dict[str, list[Written[MailFlowRule]]] = {}
    for rule in documents.rules:
        rules.setdefault(rule.value.organisation, []).append(rule)
    for group in rules.values():  # only their sequence counts, not the numbers
        for place, (_, rule) in enumerate(rules_in_order(group)):
            lines.append(_line(rule, f"{place} {rule.value.model_dump_json(exclude={'priority'})}"))
    if documents.operator is not None:
        lines.append(_line(documents.operator, documents.operator.value.model_dump_json()))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _line(written: Written[Any], content: str) -> str:
    return f"{written.table} {content}"
