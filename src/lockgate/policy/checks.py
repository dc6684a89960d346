"""Do the properties of one object go together? Specification 1.1.1, 1.2.1, 1.4; threats 3.3.

Every check names the keys it looked at; the first of them is where the problem is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lockgate.mail.ruling import TlsLevel
from lockgate.policy.documents import Documents, Places, Written
from lockgate.policy.networks import has_host_bits, parse_networks
from lockgate.policy.objects.connectors import InboundConnector, OutboundConnector
from lockgate.policy.objects.domains import AcceptedDomain, DomainType
from lockgate.policy.objects.organisation import Edition
from lockgate.policy.objects.peers import ConnectionFilter, Operator
from lockgate.policy.objects.remote_domains import CARRIED, OofType, RemoteDomain
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.problems import Problem
from lockgate.policy.spelling import smart_host_parts

Key = str | tuple[str | int, ...]
"""A key of the object, one entry of its list, or the path to what lies within it."""


@dataclass(slots=True)
class Report:
    """Collects what the checks find: `problems` forbid the policy, `warnings` only advise.

    Without `advise` nothing is advised.
    """

    places: Places
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    advise: bool = True

    def wrong(self, written: Written[Any], keys: tuple[Key, ...], message: str) -> None:
        """A mistake, unless it rests on a key that is wrong in itself."""
        self._note(self.problems, written, keys, message)

    def doubtful(
        self, written: Written[Any], keys: tuple[Key, ...], message: str, *, why: str = "", mend: str = ""
    ) -> None:
        """An advice."""
        if self.advise:
            self._note(self.warnings, written, keys, message, why, mend)

    def _note(
        self, notes: list[Problem], written: Written[Any], keys: tuple[Key, ...], message: str, why: str = "",
        mend: str = "",
    ) -> None:  # fmt: skip
        plain = [key if isinstance(key, str) else key[0] for key in keys]
        if written.suspect.isdisjoint(plain):
            head = keys[:1]
            path = (head[0] if head and isinstance(head[0], tuple) else head) or ()
            prefix = (written.table,) if written.table == "operator" else (written.table, written.index)
            found = self.places.problem(written.file, (*prefix, *path), message)
            notes.append(found._replace(why=why, mend=mend) if why or mend else found)


def check_objects(documents: Documents, hostname: str, report: Report) -> None:
    """Every object by itself."""
    for organisation in documents.organisations:
        _pair(organisation, "certificate_file", "key_file", "a client certificate", report)
    for domain in documents.domains:
        _domain(domain, report)
    for inbound in documents.inbound:
        check = _on_premises if inbound.value.on_premises else _partner
        check(inbound, report)
        _inbound(inbound, report)
    for outbound in documents.outbound:
        _outbound(outbound, report)
        _outbound_tls(outbound, report)
        _smart_hosts(outbound, hostname, report)
    for connection_filter in documents.filters:
        _lists(connection_filter, report)
        _gateways(connection_filter, report)
    for remote in documents.remote:
        _remote(remote, report)
    standalone = {one.value.name for one in documents.organisations if one.value.edition is Edition.STANDALONE}
    for rule in documents.rules:
        _rule(rule, report)
        if rule.value.organisation in standalone:
            _classifies(rule, report)
    if documents.operator is not None:
        _lists(documents.operator, report)


def _pair(written: Written[Any], one: str, two: str, what: str, report: Report) -> None:
    """Two keys that need each other."""
    for key, other in ((one, two), (two, one)):
        if getattr(written.value, key) and not getattr(written.value, other):
            report.wrong(written, (key, other), f"{what} needs {other} too")


def _domain(written: Written[AcceptedDomain], report: Report) -> None:
    domain = written.value
    relay = domain.domain_type is DomainType.INTERNAL_RELAY
    for key in ("match_sub_domains", "outbound_only"):
        if getattr(domain, key) and not relay:
            report.wrong(written, (key, "domain_type"), f'{key} needs domain_type = "internal_relay"')
    if not domain.receives:
        proof = (
            f"publish the TXT record '{domain.proof}' and prove it" if domain.proof else "give it a proof and prove it"
        )
        report.doubtful(
            written,
            ("domain_name", "proven_at", "vouched_by_operator"),
            f"{domain.domain_name} receives and sends nothing yet; {proof}, or let the operator vouch for it",
        )


def _partner(written: Written[InboundConnector], report: Report) -> None:
    connector = written.value
    if not connector.sender_domains and not connector.trusted_organizations:
        message = "a partner connector needs the sender domains it is about; '*' means every sender"
        report.wrong(written, ("sender_domains", "connector_type", "trusted_organizations"), message)
    if connector.restrict_domains_to_ip_addresses and not connector.sender_ip_addresses:
        message = (
            "the restriction needs sender_ip_addresses, the addresses mail may come from; without it all is refused"
        )
        report.wrong(written, ("restrict_domains_to_ip_addresses", "sender_ip_addresses", "connector_type"), message)
    if connector.restrict_domains_to_certificate:
        named: tuple[Key, ...] = ("tls_sender_certificate_name", "pinned_keys", "connector_type")
        if not connector.tls_sender_certificate_name and not connector.pinned_keys:
            message = "the restriction needs tls_sender_certificate_name (or pinned_keys), the certificate it means"
            report.wrong(written, ("restrict_domains_to_certificate", *named), message)
        if not connector.require_tls:
            message = "a certificate can only be asked for in TLS; the restriction needs require_tls = true"
            report.wrong(written, ("restrict_domains_to_certificate", "require_tls", "connector_type"), message)
    shown = connector.tls_sender_certificate_name or connector.pinned_keys
    if shown and not connector.restrict_domains_to_certificate and not connector.trusted_organizations:
        key = "tls_sender_certificate_name" if connector.tls_sender_certificate_name else "pinned_keys"
        message = "mail comes in without the certificate, because restrict_domains_to_certificate is false"
        report.doubtful(
            written, (key, "restrict_domains_to_certificate", "connector_type"), message,
            why="whoever claims to be the partner gets in, with any certificate or none",
            mend="restrict_domains_to_certificate = true, or leave the name away",
        )
    if not shown and not connector.restrict_domains_to_certificate:
        needed = "restrict_domains_to_certificate and tls_sender_certificate_name"
        _of_no_certificate(written, "ca_file", needed, "whoever claims to be the partner", report)
    if connector.treat_messages_as_internal:
        message = 'only own servers may be internal; it needs connector_type = "on_premises"'
        report.wrong(written, ("treat_messages_as_internal", "connector_type"), message)
    if connector.cloud_services_mail_enabled:
        message = "internal headers are never believed from a partner; the switch has no effect here"
        report.doubtful(
            written, ("cloud_services_mail_enabled", "connector_type"), message,
            why="what the other side says of its mail is stripped, and you may count on it",
            mend="leave it away; for your own servers an on-premises connector is right",
        )
    if connector.sender_ip_addresses and (connector.tls_sender_certificate_name or connector.pinned_keys):
        message = "addresses and certificate on one partner connector must both hold; a certificate alone is better"
        report.doubtful(
            written, ("sender_ip_addresses", "tls_sender_certificate_name", "pinned_keys"), message,
            why="a new address of the partner stops its mail, although the certificate proves who it is",
            mend="leave sender_ip_addresses away",
        )


def _on_premises(written: Written[InboundConnector], report: Report) -> None:
    connector = written.value
    for key in ("restrict_domains_to_ip_addresses", "restrict_domains_to_certificate"):
        if getattr(connector, key):
            message = (
                "restrictions act on partner connectors only; to lock out others add a partner connector beside it"
            )
            report.doubtful(
                written, (key, "connector_type"), message,
                why="the switch does nothing here, so nobody is locked out",
                mend="a partner connector for the same senders, with the restriction",
            )
    if connector.treat_messages_as_internal and connector.cloud_services_mail_enabled:
        message = "it cannot be used together with cloud_services_mail_enabled; choose one of the two"
        report.wrong(written, ("treat_messages_as_internal", "cloud_services_mail_enabled"), message)
    if not connector.sender_ip_addresses and not connector.tls_sender_certificate_name:
        message = "nothing identifies the own servers; give tls_sender_certificate_name or sender_ip_addresses"
        keys = ("connector_type", "sender_ip_addresses", "tls_sender_certificate_name")
        report.wrong(written, keys, message)
    elif not connector.tls_sender_certificate_name:
        # Own servers are found by the name of their certificate or by address; without a name nobody asks for one.
        for key in ("pinned_keys", "ca_file"):
            _of_no_certificate(written, key, "tls_sender_certificate_name", "whoever comes from the addresses", report)


def _of_no_certificate(
    written: Written[InboundConnector], key: str, needed: str, whoever: str, report: Report
) -> None:
    """Says how a certificate must be, where none is asked for: that looks safe and is not (amendments)."""
    if getattr(written.value, key):
        message = (
            f"no certificate is asked for, so {whoever} would get in without one; add {needed}, or leave {key} away"
        )
        report.wrong(written, (key, "tls_sender_certificate_name", "pinned_keys", "connector_type"), message)


def _inbound(written: Written[InboundConnector], report: Report) -> None:
    connector = written.value
    _host_bits(written, "sender_ip_addresses", connector.sender_ip_addresses, report)
    _host_bits(written, "ef_skip_ips", connector.ef_skip_ips, report)
    if connector.ef_skip_last_ip and connector.ef_skip_ips:
        message = "the list is not used while ef_skip_last_ip is true"
        report.doubtful(
            written, ("ef_skip_ips", "ef_skip_last_ip"), message,
            why="only the connecting hop is skipped, and the next one is taken for the source",
            mend="leave ef_skip_last_ip away and list that hop too, or leave the list away",
        )
    _trusted(written, report)
    if connector.allow_common_name:
        message = (
            "the common name of a certificate is not bound to a domain by today's rules; prefer certificates with SAN"
        )
        report.doubtful(
            written, ("allow_common_name",), message,
            why="authorities check the names in SAN and need not check the common name",
            mend="ask for a certificate with SAN, then take the switch away",
        )


def _trusted(written: Written[InboundConnector], report: Report) -> None:
    """Organisations of this installation whose mail is trusted (specification 1.1)."""
    connector = written.value
    if not connector.trusted_organizations:
        return
    if connector.on_premises:
        message = 'servers of another organisation are no own servers; it needs connector_type = "partner"'
        report.wrong(written, ("trusted_organizations", "connector_type"), message)
    if connector.organisation in connector.trusted_organizations:
        index = connector.trusted_organizations.index(connector.organisation)
        message = "an organisation need not trust itself; its own servers have an on-premises connector"
        report.wrong(written, (("trusted_organizations", index), "organisation"), message)
    others = (
        "sender_domains", "sender_ip_addresses", "tls_sender_certificate_name", "pinned_keys",
        "restrict_domains_to_ip_addresses", "restrict_domains_to_certificate",
    )  # fmt: skip
    if any(getattr(connector, key) for key in others):
        message = "with trusted_organizations no other property is used to find the connector, and nothing restricts it"
        report.doubtful(
            written, ("trusted_organizations", *others), message,
            why="what else is demanded here is not enforced",
            mend="a connector of its own for the organisations, and one for the rest",
        )


def _outbound(written: Written[OutboundConnector], report: Report) -> None:
    connector = written.value
    only = (
        "all_accepted_domains",
        "route_all_messages_via_on_premises",
        "sender_rewriting_enabled",
    )
    for key in only:
        if getattr(connector, key) and not connector.on_premises:
            report.wrong(written, (key, "connector_type"), f'{key} needs connector_type = "on_premises"')
    used = (
        "recipient_domains",
        "all_accepted_domains",
        "is_transport_rule_scoped",
        "route_all_messages_via_on_premises",
    )
    if not any(getattr(connector, key) for key in used):
        message = (
            "nothing ever uses the connector; give recipient_domains, or make it is_transport_rule_scoped for rules"
        )
        report.doubtful(
            written, used, message,
            why="mail goes another way, by MX perhaps, without the TLS that is demanded here",
            mend="name the recipient domains it is for",
        )
    if "*" in connector.recipient_domains and connector.all_accepted_domains:
        message = "'*' takes all mail to the Internet too, not only that to the accepted domains"
        report.doubtful(
            written, ("recipient_domains", "all_accepted_domains"), message,
            why="mail to strangers goes to your servers, which may send it back here",
            mend="leave the * away, or all_accepted_domains, whichever you did not mean",
        )
    _pair(written, "login_user", "login_secret", "a login", report)
    _pair(written, "certificate_file", "key_file", "a client certificate", report)
    for key, family in (("source_address_v4", "ipv6"), ("source_address_v6", "ipv4")):
        if getattr(connector, key) and connector.address_family == family:
            message = f'it is never used with address_family = "{family}"'
            report.doubtful(
                written, (key, "address_family"), message,
                why="mail leaves from another address than you chose",
                mend="the other family, or leave the address away",
            )  # fmt: skip
    if connector.login_user and connector.tls_settings is TlsLevel.OPPORTUNISTIC:
        message = "the password is only sent in TLS; demand it with tls_settings, or the mail may wait for ever"
        report.doubtful(
            written, ("tls_settings", "login_user"), message,
            why="a server that offers no TLS gets neither password nor mail",
            mend="encryption_only at least in tls_settings",
        )


def _outbound_tls(written: Written[OutboundConnector], report: Report) -> None:
    connector = written.value
    checked = connector.tls_settings is TlsLevel.DOMAIN_VALIDATION
    if checked and not connector.tls_domain:
        keys: tuple[Key, ...] = ("tls_settings", "tls_domain", "use_mx_record", "smart_hosts")
        if connector.use_mx_record:
            message = "with next hops by MX, domain_validation needs tls_domain; a name learned from DNS proves nothing"
            report.wrong(written, keys, message)
        elif any(_is_address(host) for host in connector.smart_hosts):
            message = "domain_validation needs tls_domain where a smart host is an address: there is no name to check"
            report.wrong(written, keys, message)
    if connector.tls_domain and not checked:
        message = 'the name is only checked with tls_settings = "domain_validation"'
        report.doubtful(
            written, ("tls_domain", "tls_settings"), message,
            why="mail leaves to a server with any name",
            mend="domain_validation in tls_settings, or leave tls_domain away",
        )
    unchecked = (TlsLevel.OPPORTUNISTIC, TlsLevel.ENCRYPTION_ONLY)
    for key in ("pinned_keys", "ca_file"):
        if getattr(connector, key) and connector.tls_settings in unchecked:
            message = "certificates are only checked with certificate_validation or domain_validation"
            report.doubtful(
                written, (key, "tls_settings"), message,
                why="mail leaves to a server with any certificate",
                mend="one of the two in tls_settings, or leave this away",
            )


def _smart_hosts(written: Written[OutboundConnector], hostname: str, report: Report) -> None:
    connector = written.value
    if not connector.use_mx_record and not connector.smart_hosts:
        message = "without MX the connector needs smart_hosts, the servers to send to"
        report.wrong(written, ("use_mx_record", "smart_hosts"), message)
    if connector.use_mx_record and connector.smart_hosts:
        message = "smart hosts are not used while use_mx_record is true (it is, unless you say false)"
        report.doubtful(
            written, ("smart_hosts", "use_mx_record"), message,
            why="mail goes to the MX of the domain instead",
            mend="use_mx_record = false, or leave the smart hosts away",
        )
    for index, entry in enumerate(connector.smart_hosts):
        host, port = smart_host_parts(entry)
        if host == hostname.lower() and port in {0, 25}:
            report.wrong(written, (("smart_hosts", index),), f"{host} is this server itself; mail would go in circles")
    by_name = connector.use_mx_record or any(not _is_address(entry) for entry in connector.smart_hosts)
    if connector.smtp_dane_mode == "mandatory" and connector.smart_hosts and not by_name:
        message = "DANE proves servers by their names, and these are addresses; nothing would ever leave"
        report.wrong(written, ("smtp_dane_mode", "smart_hosts"), message)


def _is_address(entry: str) -> bool:
    host, _ = smart_host_parts(entry)
    return ":" in host or host.replace(".", "").isdigit()


def _lists(written: Written[ConnectionFilter] | Written[Operator], report: Report) -> None:
    lists = written.value
    _host_bits(written, "ip_allow_list", lists.ip_allow_list, report)
    _host_bits(written, "ip_block_list", lists.ip_block_list, report)
    allowed = {network for entry in lists.ip_allow_list for network in parse_networks(entry)}
    for index, entry in enumerate(lists.ip_block_list):
        if allowed and not allowed.isdisjoint(parse_networks(entry)):
            message = f"{entry} is on the allow list too; allow wins"
            report.doubtful(written, (("ip_block_list", index), "ip_allow_list"), message)


def _gateways(written: Written[ConnectionFilter], report: Report) -> None:
    filters = written.value
    _host_bits(written, "gateway_ip_addresses", filters.gateway_ip_addresses, report)
    blocked = {network for entry in filters.ip_block_list for network in parse_networks(entry)}
    for index, entry in enumerate(filters.gateway_ip_addresses):
        if blocked and not blocked.isdisjoint(parse_networks(entry)):
            message = f"{entry} is on the block list too; a gateway counts as allowed, and allow wins"
            report.doubtful(written, (("gateway_ip_addresses", index), "ip_block_list"), message)


def _host_bits(written: Written[Any], key: str, entries: tuple[str, ...], report: Report) -> None:
    for index, entry in enumerate(entries):
        if has_host_bits(entry):
            message = f"{entry} has bits set behind its prefix; it is read as {parse_networks(entry)[0].text}"
            report.doubtful(written, ((key, index),), message)


def _remote(written: Written[RemoteDomain], report: Report) -> None:
    """Specification 1.5: internal_legacy makes the domain internal, and only an internal one may have it."""
    remote = written.value
    if remote.allowed_oof_type is OofType.INTERNAL_LEGACY and not remote.is_internal:
        message = "internal_legacy is for internal domains; it needs is_internal = true (or take external_legacy)"
        report.wrong(written, ("allowed_oof_type", "is_internal"), message)
    if remote.domain_name == "*" and (remote.trusted_mail_inbound_enabled or remote.is_internal):
        key = "is_internal" if remote.is_internal else "trusted_mail_inbound_enabled"
        message = "this holds for everybody in the world; write it for single domains"
        report.doubtful(written, (key, "domain_name"), message)
    if remote.allowed_oof_type in (OofType.EXTERNAL_LEGACY, OofType.INTERNAL_LEGACY):
        message = "which of the two texts leaves is chosen where the reply is written; here only 'none' acts"
        report.doubtful(written, ("allowed_oof_type",), message)
    for key, because in CARRIED.items():
        if getattr(remote, key) != RemoteDomain.model_fields[key].default:
            report.doubtful(written, (key,), f"it is kept and shown, but changes nothing: {because}")


def _classifies(written: Written[MailFlowRule], report: Report) -> None:
    """Classifications belong to other editions (specification 1.15.7, 1.15.9); here they work all the same."""
    for key in type(written.value).model_fields:
        if key.endswith("classification") and getattr(written.value, key) is not None:
            report.doubtful(written, (key,), f"{key} is not part of the edition 'standalone'; Lockgate does it anyway")


def _rule(written: Written[MailFlowRule], report: Report) -> None:
    rule = written.value
    own = set(MailFlowRule.model_fields)
    acts = [key for key in type(rule).model_fields if key not in own and getattr(rule, key) is not None]
    if not acts and not rule.stop_rule_processing:
        report.doubtful(written, ("name",), f"rule '{rule.name}' has no condition and no action; it does nothing")
