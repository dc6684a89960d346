"""What a change of policy means for mail, in words: by which way it leaves, who is refused, what is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from lockgate.decision.route import ranked
from lockgate.decision.signing import signing_domains
from lockgate.policy.catalog import EXCEPTION, Catalog, standard
from lockgate.policy.differences import Difference, What, plain
from lockgate.policy.objects.connectors import InboundConnector, OutboundConnector
from lockgate.policy.objects.domains import AcceptedDomain, DomainType
from lockgate.policy.objects.named_lists import NamedList
from lockgate.policy.objects.remote_domains import CARRIED, OofType
from lockgate.policy.objects.rules import EITHER, EXCEPT_IF_EITHER, groups_of
from lockgate.policy.policy import Policy
from lockgate.policy.publishing import mail_hosts, published
from lockgate.policy.values import as_toml

ELSEWHERE = "elsewhere.invalid"
"""Stands for every domain that no connector names (RFC 2606 2)."""

MOST_DOMAINS = 50
"""Domains of one connector whose way is told."""


class Both(NamedTuple):
    """The policy before and after."""

    before: Policy
    after: Policy


def meaning(difference: Difference, both: Both) -> tuple[str, ...]:
    """Sentences for one difference; () if it means nothing for mail."""
    tell = _TELLERS.get(difference.table)
    if tell is None:
        return ()
    return tuple(dict.fromkeys(tell(difference, both)))


# --- by which way mail leaves -----------------------------------------------------------------------------------------


def way(policy: Policy, organisation: str, domain: str) -> str:
    """By which way mail of the organisation to a domain leaves under this policy, in words."""
    mine = policy.organisations.get(organisation)
    if mine is None:
        return "by MX"
    first = next(ranked(policy, mine, domain, central=True), None)
    return "by MX" if first is None else f"by connector {_described(first[0])}"


def _described(connector: OutboundConnector) -> str:
    hosts = "by MX" if connector.use_mx_record else f"to {_few(connector.smart_hosts)}"
    return f"{connector.name}, {hosts}, TLS {connector.tls_settings.value}"


def _outbound(difference: Difference, both: Both) -> Iterator[str]:
    before, after = difference.before, difference.after
    versions = [one for one in (before, after) if isinstance(one, OutboundConnector)]
    patterns = dict.fromkeys(pattern for one in versions for pattern in one.recipient_domains)
    labels = {_sample(pattern): _covered(pattern) for pattern in list(patterns)[:MOST_DOMAINS]}
    if any(one.route_all_messages_via_on_premises for one in versions):
        labels[ELSEWHERE] = "all domains without a connector of their own"
    if any(one.all_accepted_domains or one.route_all_messages_via_on_premises for one in versions):
        labels.update(_accepted(both, difference.organisation))
    for domain, label in labels.items():
        yield from _moved(domain, label, difference.organisation, both)
    if len(patterns) > MOST_DOMAINS:
        yield f"and the same for {len(patterns) - MOST_DOMAINS} more of its domains"
    yield from _scoped(difference, both)


def _accepted(both: Both, organisation: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for policy in both:
        mine = policy.organisations.get(organisation)
        found.update({d.domain_name: d.domain_name for d in (mine.accepted if mine else ())[:MOST_DOMAINS]})
    return found


def _moved(domain: str, label: str, organisation: str, both: Both) -> Iterator[str]:
    old, new = way(both.before, organisation, domain), way(both.after, organisation, domain)
    if old != new:
        yield f"mail for {label} will now leave {new} (before: {old})"


def _scoped(difference: Difference, both: Both) -> Iterator[str]:
    """What becomes of mail that rules send to this connector by name."""
    mine = both.after.organisations.get(difference.organisation)
    now = difference.after
    waiting = now is None or (isinstance(now, OutboundConnector) and not now.enabled)
    old = difference.before
    was = isinstance(old, OutboundConnector) and old.enabled
    if now is not None and difference.what is What.ADDED and difference.value("is_transport_rule_scoped"):
        yield "it is used only where a mail flow rule names it"
    if waiting and was and mine is not None:
        yield "mail that a rule sends by this connector, or that waits for it, will wait and go no other way"
    if isinstance(now, OutboundConnector) and difference.what is What.CHANGED and difference.changes(
        "smart_hosts", "tls_settings", "tls_domain", "use_mx_record", "login_user", "login_secret"
    ):
        yield f"mail that waits for it will leave {_described(now).partition(', ')[2]} from its next attempt on"


# --- who may send, and what is owed -----------------------------------------------------------------------------------


def _inbound(difference: Difference, both: Both) -> Iterator[str]:
    old, new = _demand(difference.before), _demand(difference.after)
    if old == new:
        return
    if new:
        yield new
    if old:
        yield f"{'before' if new else 'no longer'}: {old}"


def _demand(value: object) -> str:
    if not isinstance(value, InboundConnector) or not value.enabled:
        return ""
    known = [f"from {_few(value.sender_ip_addresses)}"] if value.sender_ip_addresses else []
    if value.tls_sender_certificate_name:
        known.append(f"with a certificate for {value.tls_sender_certificate_name}")
    if value.on_premises:
        scope = _few(value.associated_accepted_domains)
        rights = f"count for mail to {scope} only" if scope else "may relay its mail to anybody"
        return f"servers {' and '.join(known)} are the organisation's own and {rights}"
    if value.trusted_organizations:
        whose = _few(value.trusted_organizations)
        if value.associated_accepted_domains:
            whose += f" to {_few(value.associated_accepted_domains)}"
        return f"mail of servers and people of {whose} is taken, and nothing is demanded of it"
    owed = ["in plain text"] if value.require_tls else []
    if value.restrict_domains_to_ip_addresses:
        owed.append(f"from any address but {_few(value.sender_ip_addresses)}")
    if value.restrict_domains_to_certificate:
        owed.append(f"without a certificate for {value.tls_sender_certificate_name or 'a pinned key'}")
    whose = f"with a sender of {_few(value.sender_domains)}"
    if value.sender_ip_addresses and not value.restrict_domains_to_ip_addresses:
        whose += f" from {_few(value.sender_ip_addresses)}"
    if value.associated_accepted_domains:
        whose += f" to {_few(value.associated_accepted_domains)}"
    return f"mail {whose} that comes {' or '.join(owed)} will be refused" if owed else ""


def _domain(difference: Difference, both: Both) -> Iterator[str]:
    name = difference.name
    old, new = _taken(difference.before), _taken(difference.after)
    if old != new:
        yield new or f"mail for {name} is not taken any more; it is refused like that of strangers"
    now = difference.after
    if isinstance(now, AcceptedDomain):
        if now.sending_from_domain_disabled and difference.changes("sending_from_domain_disabled"):
            yield f"no mail leaves with a sender of {name}"
        if now.default and difference.changes("default"):
            yield f"generated mail now comes from postmaster@{name}"
    yield from _announced(difference, both)
    yield from _moved(name, name, difference.organisation, both)


def _announced(difference: Difference, both: Both) -> Iterator[str]:
    """What others learn of the domain by MTA-STS, and what has to be published for it."""
    name = difference.name
    old, new = (
        published(value, policy.hostname) if isinstance(value, AcceptedDomain) else None
        for value, policy in zip((difference.before, difference.after), both, strict=True)
    )
    if new is not None and (old is None or old.text != new.text):
        yield f"others learn of its MTA-STS policy by the TXT record of _mta-sts.{name}: {new.record}"
        if "\r\nmode: enforce\r\n" in new.text and isinstance(difference.after, AcceptedDomain):
            hosts = _few(mail_hosts(difference.after, both.after.hostname))
            yield f"servers that obey it then send its mail only to {hosts}, by TLS with a certificate of that name"
    elif new is None and old is not None:
        yield f"no MTA-STS policy of {name} is served; who has the old one keeps it (mta_sts_mode=none ends it)"


def _taken(value: object) -> str:
    if not isinstance(value, AcceptedDomain):
        return ""
    name = value.domain_name + (" and all names below it" if value.match_sub_domains else "")
    if not value.receives:
        return f"mail for {name} is not taken until the domain is proven"
    if value.sending_to_domain_disabled:
        return f"no mail is taken for {name}"
    if value.coexistence:
        return f"by {name} the other side of a hybrid addresses mailboxes here; mail for nobody's is refused"
    if value.domain_type is DomainType.AUTHORITATIVE:
        return f"mail for {name} is taken for recipients in the directory, all others are refused"
    return f"mail for {name} is taken; recipients that are not in the directory are relayed"


# --- lists ------------------------------------------------------------------------------------------------------------


def _filter(difference: Difference, both: Both) -> Iterator[str]:
    whom = f"for recipients of {difference.organisation}"
    yield from _lists(difference, f"will be refused {whom}", f"skips the content filter {whom}")


def _operator(difference: Difference, both: Both) -> Iterator[str]:
    yield from _lists(
        difference, "will be refused at connect, by everybody", "is not refused by the operator's block list"
    )
    old, new = (plain(one.limits, all_of_it=True) for one in (both.before, both.after))
    for key, value in new.items():
        if old[key] != value:
            yield f"the limit {key} is {value} for everybody (before: {old[key]})"


def _lists(difference: Difference, blocked: str, allowed: str) -> Iterator[str]:
    was, now = _entries(difference.before, "ip_block_list"), _entries(difference.after, "ip_block_list")
    could, can = (
        (*_entries(one, "ip_allow_list"), *_entries(one, "gateway_ip_addresses"))
        for one in (difference.before, difference.after)
    )
    for entry in _gone(now, was):
        rest = "stays welcome: it is on the allow list too, and allow wins" if entry in can else blocked
        yield f"IP {entry} {rest}"
    for entry in _gone(was, now):
        yield f"IP {entry} will no longer be refused by this list"
    for entry in _gone(can, could):
        yield f"mail from {entry} {allowed}"
    for entry in _gone(could, can):
        yield f"mail from {entry} is judged like any other again"


def _entries(value: object, key: str) -> tuple[str, ...]:
    found = getattr(value, key, ())
    return found if isinstance(found, tuple) else ()


def _gone(these: Iterable[str], those: Iterable[str]) -> Iterator[str]:
    known = frozenset(those)
    return (one for one in these if one not in known)


# --- rules, organisations, remote domains -----------------------------------------------------------------------------


def _rule(difference: Difference, both: Both) -> Iterator[str]:
    catalog = standard()
    old, new = _said(difference.before, catalog), _said(difference.after, catalog)
    if old != new:
        yield new or "the rule acts no more"
        if old and new:
            yield f"before: {old}"
    for moved in difference.properties:
        if moved.name == "order":
            yield f"it is now looked at as number {moved.after} (before: {moved.before})"


def _list(difference: Difference, both: Both) -> Iterator[str]:
    old, new = (one.kind if isinstance(one, NamedList) else None for one in (difference.before, difference.after))
    if new is None:
        yield "rules can look into the list no more; its entries are kept, should it be declared again"
    elif old is None:
        yield f"rules can look into a list of {new}; what is on it is no part of the policy"
    elif old != new:
        yield f"it is a list of {new} now; its entries of the kind {old} are kept, and looked at no more"


_AUDITED = MappingProxyType(
    {
        "audit": "on audit, nothing is done but reports are sent, ",
        "audit_and_notify": "on audit, nothing is done but reports and notes are sent, ",
    }
)


def _said(rule: Any, catalog: Catalog) -> str:
    if rule is None or not rule.enabled:
        return ""
    then = [f"{key} {_shown(getattr(rule, key))}" for key in catalog.actions if getattr(rule, key) is not None]
    if rule.stop_rule_processing:
        then.append("no later rule is looked at")
    tests = _tests(rule, catalog)
    text = f"when {tests}" if tests and not tests.startswith("unless ") else "for every message"
    if tests.startswith("unless "):
        text += f", {tests}"
    return f"{_AUDITED.get(rule.mode, '')}{text}: {', '.join(then) or 'nothing is done'}"


def _tests(holder: Any, catalog: Catalog) -> str:
    """Conditions and exceptions of a rule or a group: "a and b, unless c or d"."""
    when = [f"{key} {_shown(value)}" for key in catalog.conditions if (value := getattr(holder, key)) is not None]
    unless = [
        f"{key} {_shown(value)}"
        for key in catalog.conditions
        if (value := getattr(holder, EXCEPTION + key)) is not None
    ]
    grouped: dict[str, list[str]] = {}
    for key, _, group in groups_of(holder):
        grouped.setdefault(key, []).append(f"({_tests(group, catalog)})")
    when += [f"one of {', '.join(grouped[EITHER])}"] if EITHER in grouped else []
    unless += grouped.get(EXCEPT_IF_EITHER, [])
    text = " and ".join(when)
    return f"{text}{', ' if text else ''}unless {' or '.join(unless)}" if unless else text


def _shown(value: Any) -> str:
    found = value.model_dump(mode="json")
    match found:
        case list():
            return _few(found)
        case dict() | bool():
            return as_toml(found)
        case _:
            return str(found)


_SETTINGS = MappingProxyType(
    {
        "message_expiration": "a message that cannot be delivered is returned after {} seconds",
        "reject_direct_send": "mail from strangers that claims a domain of the organisation is refused: {}",
        "external_postmaster_address": "reports to the outside come from {}",
        "max_recipient_envelope_limit": "a message may name {} recipients",
        "disable_plus_address_in_recipients": "mail for ana+tag@ is no longer mail for ana@: {}",
        "max_receive_size": "recipients take messages of at most {} octets",
        "max_send_size": "senders may send messages of at most {} octets",
        "smtp_client_authentication_disabled": "nobody may log in to submit mail: {}",
        "inbound_ipv6": "mail over IPv6 is taken: {}",
        "compatibility": "the limits and refusals of this product hold to the letter: {}",
    }
)


def _organisation(difference: Difference, both: Both) -> Iterator[str]:
    if difference.what is What.REMOVED:
        yield f"nothing is taken for or from {difference.name} any more"
    for one in difference.properties if difference.what is What.CHANGED else ():
        if one.name in _SETTINGS:
            yield _SETTINGS[one.name].format(_value(one.after)) + f" (before: {_value(one.before)})"


def _value(value: object) -> str:
    match value:
        case True | False:
            return "yes" if value else "no"
        case None | "":
            return "as the operator's settings say"
        case _:
            return str(value)


def _remote(difference: Difference, both: Both) -> Iterator[str]:
    """What may leave to it now."""
    for key, what in _REPORTS.items():
        old, new = (getattr(one, key, True) for one in (difference.before, difference.after))
        if old is not new:
            yield f"senders at {difference.name} get {what if new else f'no {what}'} from now on"
    whom = "the outside" if difference.name == "*" else difference.name
    for key, what in _WRITTEN_BY_PROGRAMS.items():
        old, new = (_open(one, key) for one in (difference.before, difference.after))
        if old is not new:
            yield f"{what} {'may leave to' if new else 'is dropped where it would leave to'} {whom}"
    old, new = (getattr(one, "trusted_mail_inbound_enabled", False) for one in (difference.before, difference.after))
    if old is not new:
        yield f"proven mail from {whom} {'shall skip' if new else 'goes through'} content and recipient filters"
    if any(one.name in CARRIED for one in difference.properties):
        yield "how formatted mail shall look is kept and shown; messages are passed on as they were written"


def _open(remote: object, key: str) -> bool:
    if key == "auto_reply_enabled" and getattr(remote, "allowed_oof_type", "") == OofType.NONE:
        return False
    return bool(getattr(remote, key, True))


_REPORTS = MappingProxyType(
    {"ndr_enabled": "reports of failure and delay", "delivery_report_enabled": "reports of success"}
)
_WRITTEN_BY_PROGRAMS = MappingProxyType(
    {"auto_forward_enabled": "forwarding that people set up", "auto_reply_enabled": "what answers by itself"}
)


def _store(difference: Difference, both: Both) -> Iterator[str]:
    """Where mail for the organisation's mailboxes goes now."""
    old, new = (_place(policy, difference.organisation) for policy in both)
    if old != new:
        yield f"mail for the mailboxes of {difference.organisation} will go {new} (before: {old})"


def _anti_phishing(difference: Difference, both: Both) -> Iterator[str]:
    """What becomes of mail with a forged author now."""
    old, new = (_forged(policy, difference.organisation) for policy in both)
    if old != new:
        yield f"mail to {difference.organisation} with a forged author will be {new} (before: {old})"


def _forged(policy: Policy, organisation: str) -> str:
    mine = policy.organisations.get(organisation)
    wanted = mine.anti_phishing if mine is not None else None
    if wanted is None:
        return "delivered, because nobody asks who the author is"
    rejects = wanted.honor_dmarc_policy and wanted.dmarc_reject_action == "reject"
    own = {"none": "delivered", "quarantine": "held", "reject": "refused"}[wanted.own_domain_spoof_action]
    refused = "refused" if rejects else "held"
    implicit = wanted.authentication_fail_action if wanted.enable_spoof_intelligence else None
    ends = f"{own} in its own domains"
    if implicit == "none" and not wanted.honor_dmarc_policy:
        return f"delivered, but {ends}"
    if implicit == "quarantine":
        ends = f"held where nothing is asked for, {ends}"
    return f"{refused} where DMARC asks for rejection, held where it asks for quarantine, {ends}"


def _arc(difference: Difference, both: Both) -> Iterator[str]:
    """Whose word about authors counts now."""
    old, new = (_sealers(policy, difference.organisation) for policy in both)
    for domain in sorted(new - old):
        yield f"what {domain} sealed as proven will be taken for proven by {difference.organisation}"
    for domain in sorted(old - new):
        yield f"the seals of {domain} will count for nothing with {difference.organisation}"


def _sealers(policy: Policy, organisation: str) -> frozenset[str]:
    mine = policy.organisations.get(organisation)
    return mine.trusted_sealers if mine is not None else frozenset()


def _signing(difference: Difference, both: Both) -> Iterator[str]:
    """Whose mail is signed now, and by which domain."""
    organisation = difference.organisation
    mine = both.after.organisations.get(organisation)
    names = [difference.name, *(one.domain_name for one in (mine.accepted if mine else ())[:MOST_DOMAINS])]
    for name in dict.fromkeys(names):
        old, new = (next(iter(signing_domains(policy, organisation, name)), "") for policy in both)
        if old != new:
            yield f"mail of {name} that leaves will be {_signature(new)} (before: {_signature(old)})"


def _signature(domain: str) -> str:
    return f"signed by {domain}, once its key is seen in DNS" if domain else "not signed"


def _place(policy: Policy, organisation: str) -> str:
    mine = policy.organisations.get(organisation)
    store = mine.store if mine is not None else None
    if store is None:
        return "where the operator's file says"
    if not store.enabled:
        return f"nowhere: it waits until the store {store.name} is switched on"
    return f"to the store {store.name} ({_few(store.servers) if store.servers else store.kind.value})"


_TELLERS: MappingProxyType[str, Callable[[Difference, Both], Iterator[str]]] = MappingProxyType(
    {
        "organisation": _organisation,
        "accepted_domain": _domain,
        "inbound_connector": _inbound,
        "outbound_connector": _outbound,
        "connection_filter": _filter,
        "remote_domain": _remote,
        "mailbox_store": _store,
        "anti_phishing_policy": _anti_phishing,
        "arc_config": _arc,
        "dkim_signing_config": _signing,
        "mail_flow_rule": _rule,
        "named_list": _list,
        "operator": _operator,
    }
)


def _sample(pattern: str) -> str:
    """A domain that the pattern stands for."""
    if pattern == "*":
        return ELSEWHERE
    return pattern.replace("*.", "any-name-below.")


def _covered(pattern: str) -> str:
    if pattern == "*":
        return "all domains without a connector of their own"
    return f"names below {pattern[2:]}" if pattern.startswith("*.") else pattern


def _few(entries: Sequence[str], most: int = 5) -> str:
    more = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + more
