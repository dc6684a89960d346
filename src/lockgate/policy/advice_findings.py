"""What an existing policy lacks of what is advised, and what in it does nothing that anybody asked for."""

from __future__ import annotations

import enum
import shlex
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from lockgate.mail.certificate_names import name_covered
from lockgate.mail.ruling import Effects, TlsLevel
from lockgate.policy.advice_answers import Answers
from lockgate.policy.advice_documents import Need, Piece, pieces
from lockgate.policy.networks import Network, parse_networks
from lockgate.policy.objects.connectors import InboundConnector, OutboundConnector
from lockgate.policy.policy import OrganisationPolicy
from lockgate.policy.spelling import smart_host_parts
from lockgate.policy.tries import DomainMap, NetworkMap

_LEVELS = tuple(TlsLevel)


class Kind(enum.StrEnum):
    """What is wrong with what is there."""

    MISSING = "missing"
    """Needed, and not there: mail does not flow as it should."""
    WANTING = "wanting"
    """Advised, and not there: mail flows, with less protection than was wished."""
    NEEDLESS = "needless"
    """There, and of no use to anybody."""


class Finding(NamedTuple):
    """One finding: which object, why it matters, how to mend it."""

    kind: Kind
    table: str
    name: str
    what: str
    mend: str


class Compared(NamedTuple):
    """What was found, and the pieces that would have to be added."""

    findings: tuple[Finding, ...]
    lacking: tuple[Piece, ...]


def adopted(answers: Answers, mine: OrganisationPolicy) -> Answers:
    """The answers, with what was not said taken from what is there: the domains, and the own servers."""
    own = [one for one in mine.inbound.values() if one.on_premises and one.enabled]
    domains = answers.domains or tuple([one.domain_name for one in mine.accepted])
    answers = answers._replace(organisation=mine.organisation.name, domains=domains)
    if answers.own_servers and not answers.certificate and not answers.addresses:
        names = [one.tls_sender_certificate_name for one in own if one.tls_sender_certificate_name]
        addresses = [text for one in own for text in one.sender_ip_addresses]
        answers = answers._replace(certificate=names[0] if names else "", addresses=() if names else tuple(addresses))
    if answers.own_servers and not answers.next_hops:
        ways = [way for domain in domains if (way := first(mine, domain)) is not None and not way.use_mx_record]
        answers = answers._replace(next_hops=tuple(dict.fromkeys(host for way in ways for host in way.smart_hosts)),
                                   tls=answers.tls or (ways[0].tls_settings.value if ways else ""))  # fmt: skip
    return answers


def compared(answers: Answers, mine: OrganisationPolicy) -> Compared:
    """The advice for these (checked) answers beside what the organisation has."""
    lacking: list[Piece] = []
    findings = list(_open(answers))
    for piece in pieces(answers):
        if _is_there(piece, mine):
            continue
        kind = Kind.MISSING if piece.need is Need.NEEDED else Kind.WANTING
        if (there := _stands_before(piece, mine)) is not None:
            what = f"it does less than was wished: {piece.why[:1].lower()}{piece.why[1:]}"
            findings.append(Finding(kind, piece.table, there.name, what, _change(piece, there)))
            continue
        fresh = piece._replace(name=_free_name(piece, mine))
        lacking.append(fresh)
        mend = "add the document that is printed, or change the connector that is meant to do this"
        findings.append(Finding(kind, piece.table, fresh.name, piece.why, mend))
    findings += _needless(answers, mine)
    return Compared(tuple(findings), tuple(lacking))


def _open(answers: Answers) -> Iterator[Finding]:
    """What is needed, and cannot be written down because nobody has said how."""
    if answers.own_servers and not answers.certificate and not answers.addresses:
        what = "nothing says by what your own servers are known, so nothing they send to the outside is taken"
        mend = "say --own-certificate NAME (better) or --own-address ADDRESS, and the document is printed"
        yield Finding(Kind.MISSING, "inbound_connector", "Our servers", what, mend)
    if answers.own_servers and not answers.next_hops:
        what = "nothing says where mail for people on your own servers goes"
        mend = "say --next-hop HOST, and the document is printed"
        yield Finding(Kind.MISSING, "outbound_connector", "To our servers", what, mend)


def _stands_before(piece: Piece, mine: OrganisationPolicy) -> OutboundConnector | None:
    """The connector that goes before the one that is advised: it has to be changed, because another is not used."""
    wanted: dict[str, Any] = tomllib.loads("\n".join(piece.lines))
    if piece.table != "outbound_connector" or wanted.get("is_transport_rule_scoped"):
        return None
    for domain in wanted["recipient_domains"]:
        way = first(mine, domain)
        if way is not None and domain in way.recipient_domains and not _does_as_much(way, wanted):
            return way
    return None


def _change(piece: Piece, there: OutboundConnector) -> str:
    """The command that makes the connector do what is advised."""
    wanted: dict[str, Any] = tomllib.loads("\n".join(piece.lines))
    words: list[str] = []
    for key, value in wanted.items():
        if key in ("recipient_domains", "connector_type"):
            continue
        texts = value if isinstance(value, list) else [str(value).lower() if isinstance(value, bool) else value]
        words += [shlex.quote(f"{key}={text}") for text in texts]
    return f"lockgate connector set {shlex.quote(there.name)} --outbound {' '.join(words)}"


def _free_name(piece: Piece, mine: OrganisationPolicy) -> str:
    taken = {
        "inbound_connector": [*mine.inbound],
        "outbound_connector": [*mine.outbound.named],
        "mail_flow_rule": [rule.name for rule in mine.rules.all],
    }.get(piece.table, [])
    used = {name.casefold() for name in taken}
    name, number = piece.name, 2
    while name.casefold() in used:
        name, number = f"{piece.name} {number}", number + 1
    return name


# --- is it there already? --------------------------------------------------------------------------------------------


def _is_there(piece: Piece, mine: OrganisationPolicy) -> bool:
    wanted: dict[str, Any] = tomllib.loads("\n".join(piece.lines))
    match piece.table:
        case "inbound_connector":
            return _inbound_is_there(wanted, mine)
        case "outbound_connector":
            return _outbound_is_there(wanted, mine)
        case _:
            name = wanted["route_message_outbound_connector"]
            hosts = {one.name for one in mine.outbound.named.values() if one.is_transport_rule_scoped}
            return any(_sends_by(rule.then) in hosts | {name} for rule in mine.rules.all if rule.enabled)


def _sends_by(then: Iterable[Any]) -> str:
    return next((name for change in then if (name := change(Effects()).connector)), "")


def _inbound_is_there(wanted: dict[str, Any], mine: OrganisationPolicy) -> bool:
    on_premises = wanted.get("connector_type") == "on_premises"
    alike = [one for one in mine.inbound.values() if one.enabled and one.on_premises == on_premises]
    if on_premises:
        return _own_is_there(wanted, alike)
    return any(_asks_as_much(one, wanted) for one in alike)


def _own_is_there(wanted: dict[str, Any], alike: list[InboundConnector]) -> bool:
    """Whether all these addresses, or this certificate, are own servers already, on one connector or several."""
    if name := wanted.get("tls_sender_certificate_name"):
        return any(_covers_name(one.tls_sender_certificate_name or "", name) for one in alike)
    have = NetworkMap((network, network) for one in alike for text in one.sender_ip_addresses
                      for network in parse_networks(text))  # fmt: skip
    return all(_covered(have, network) for text in wanted["sender_ip_addresses"] for network in parse_networks(text))


def _covers_name(have: str, name: str) -> bool:
    return bool(have) and (have == name or name_covered(have, (name.removeprefix("*."),)) is not None)


def _covered(have: NetworkMap[Network], network: Network) -> bool:
    return any(one.length <= network.length for one in have.every(network.packed))


def _asks_as_much(one: InboundConnector, wanted: dict[str, Any]) -> bool:
    """Whether this partner connector is about the same senders and asks for no less."""
    known = DomainMap([(pattern, True) for pattern in one.sender_domains if pattern != "*"])
    for pattern in wanted["sender_domains"]:
        if "*" not in one.sender_domains and (pattern == "*" or known.find(pattern.removeprefix("*.")) is None):
            return False
    if wanted.get("require_tls", True) and not one.require_tls:
        return False
    if wanted.get("restrict_domains_to_certificate") and not one.restrict_domains_to_certificate:
        return False
    if wanted.get("restrict_domains_to_ip_addresses") and not (
        one.restrict_domains_to_ip_addresses or one.restrict_domains_to_certificate
    ):
        return False
    return not wanted.get("ef_skip_last_ip") or one.ef_skip_last_ip or bool(one.ef_skip_ips)


def _outbound_is_there(wanted: dict[str, Any], mine: OrganisationPolicy) -> bool:
    if wanted.get("is_transport_rule_scoped"):
        return any(one.enabled and one.is_transport_rule_scoped and _same_hosts(one, wanted)
                   for one in mine.outbound.named.values())  # fmt: skip
    if wanted.get("route_all_messages_via_on_premises") and not mine.outbound.central:
        return False
    ways = [first(mine, domain) for domain in wanted["recipient_domains"]]
    return all(one is not None and _does_as_much(one, wanted) for one in ways)


def first(mine: OrganisationPolicy, domain: str) -> OutboundConnector | None:
    """The connector for mail to this domain, by the tables that the route stage asks (specification 2.4)."""
    outbound = mine.outbound
    own = any(one.domain_name == domain for one in mine.accepted)
    groups = (
        outbound.exact.get(domain, ()), *outbound.wildcard.every(domain), outbound.all_accepted if own else (),
        outbound.everything,
    )  # fmt: skip
    return next((group[0] for group in groups if group), None)


def _does_as_much(one: OutboundConnector, wanted: dict[str, Any]) -> bool:
    level = TlsLevel(wanted.get("tls_settings", TlsLevel.OPPORTUNISTIC))
    if _LEVELS.index(one.tls_settings) < _LEVELS.index(level):
        return False
    return "smart_hosts" not in wanted or _same_hosts(one, wanted)


def _same_hosts(one: OutboundConnector, wanted: dict[str, Any]) -> bool:
    """Whether it leads to all the servers that are wanted (the port that is not said is 25)."""
    have = {_host(text) for text in one.smart_hosts} if not one.use_mx_record else set()
    return {_host(text) for text in wanted["smart_hosts"]} <= have


def _host(text: str) -> tuple[str, int]:
    host, port = smart_host_parts(text)
    return host, port or 25


# --- is it of any use? -----------------------------------------------------------------------------------------------


def _needless(answers: Answers, mine: OrganisationPolicy) -> Iterator[Finding]:
    for inbound in mine.inbound.values():
        if what := _needless_inbound(answers, inbound):
            mend = f"lockgate connector remove {shlex.quote(inbound.name)} --inbound"
            yield Finding(Kind.NEEDLESS, "inbound_connector", inbound.name, what, mend)
    used = {_sends_by(rule.then) for rule in mine.rules.all if rule.enabled}
    for outbound in mine.outbound.named.values():
        if what := _needless_outbound(answers, outbound, mine, used):
            mend = f"lockgate connector remove {shlex.quote(outbound.name)} --outbound"
            yield Finding(Kind.NEEDLESS, "outbound_connector", outbound.name, what, mend)


def _needless_inbound(answers: Answers, one: InboundConnector) -> str:
    if not one.enabled:
        return "it is switched off and does nothing"
    if one.on_premises and not answers.own_servers and not answers.devices:
        return (
            "all mailboxes are hosted and no devices send: whoever comes by it may send to the whole world in your "
            "name, and nobody needs that"
        )
    asks = one.require_tls or one.restrict_domains_to_certificate or one.restrict_domains_to_ip_addresses
    if not one.on_premises and not asks and not one.ef_skip_last_ip and not one.ef_skip_ips:
        return "it asks nothing of the partner, whose mail arrives without it as well"
    return ""


def _needless_outbound(answers: Answers, one: OutboundConnector, mine: OrganisationPolicy, used: set[str]) -> str:
    if not one.enabled:
        return "it is switched off; mail that a rule sends by it waits" if one.name in used else (
            "it is switched off and does nothing"
        )
    if one.is_transport_rule_scoped:
        return "" if one.name in used else "only mail flow rules use it, and no enabled rule names it"
    own = [domain.domain_name for domain in mine.accepted]
    leads_home = one.all_accepted_domains or any(domain in one.recipient_domains for domain in own)
    if leads_home and not answers.own_servers:
        return "all mailboxes are hosted, and it leads mail for your own domains to other servers"
    plain = one.tls_settings is TlsLevel.OPPORTUNISTIC and one.smtp_dane_mode == "opportunistic"
    if one.use_mx_record and plain and not one.on_premises and not (one.source_address_v4 or one.source_address_v6):
        return "mail to these domains leaves by MX with TLS where it is offered, with or without it"
    return ""
