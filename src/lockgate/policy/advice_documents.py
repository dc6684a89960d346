"""From answers to documents: each connector that is advised as the text to write, with the reason as a comment."""

from __future__ import annotations

import enum
import ipaddress
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lockgate.mail.ruling import TlsLevel
from lockgate.policy.advice import Mailboxes
from lockgate.policy.advice_answers import Answers, Partner, Security, Site
from lockgate.policy.spelling import smart_host_parts


class Need(enum.StrEnum):
    """Whether mail flows without it."""

    NEEDED = "needed"
    OPTIONAL = "optional"


class Piece(NamedTuple):
    """One object that is advised. `why` is a sentence or two.

    `lines` are the properties as TOML. `tries` is a recipient domain for which an outbound connector can be validated.
    """

    table: str
    name: str
    need: Need
    why: str
    lines: tuple[str, ...]
    tries: str = ""

    def text(self, organisation: str = "") -> str:
        """As it stands in a document; `organisation` is only named where there are several."""
        owner = (f"organisation = {quoted(organisation)}",) if organisation else ()
        body = (f"name = {quoted(self.name)}", *owner, *self.lines)
        return "\n".join((*_comment(self.why), f"[[{self.table}]]", *body)) + "\n"


def pieces(answers: Answers) -> tuple[Piece, ...]:
    """Everything that is advised, what is needed first. The answers must have been checked."""
    found: list[Piece] = []
    if answers.own_servers:
        found += _own_servers(answers)
    if answers.relay:
        found.append(_relay(answers))
    if answers.devices:
        found.append(_devices(answers))
    for partner in answers.partners:
        found += _partner(partner)
    if answers.gateway:
        found.append(_gateway(answers))
    for site in answers.sites:
        found += _site(site)
    return tuple(_named_apart(found))


def documents(answers: Answers, advised: Iterable[Piece]) -> dict[str, str]:
    """The documents of a new installation: {file name: TOML text}."""
    files = {"organisation.toml": _organisation(answers)}
    if text := connectors_text(advised):
        files["connectors.toml"] = text
    return files


def connectors_text(advised: Iterable[Piece], organisation: str = "") -> str:
    """The advised objects as one document; "" if there are none."""
    return "\n".join(piece.text(organisation) for piece in advised)


def _organisation(answers: Answers) -> str:
    text = f"""\
# Whose mail this is. `lockgate check` finds every mistake, `lockgate plan` says what a change would do.
[[organisation]]
name = {quoted(answers.name)}
"""
    for number, domain in enumerate(answers.domains):
        text += f"""
[[accepted_domain]]
domain_name = {quoted(domain)}
vouched_by_operator = true   # you answer for the domain; without it, a TXT record has to prove it
{"default = true" if number == 0 else ""}
"""
    if answers.own_servers:
        text += """
# Unknown recipients are refused, so load the people on your own servers as mail users first (`lockgate recipient
# import`), or let everybody pass for a while: domain_type = "internal_relay" on the domain.
"""
    return text


# --- own servers -----------------------------------------------------------------------------------------------------


def _own_servers(answers: Answers) -> Iterator[Piece]:
    hybrid = answers.mailboxes is Mailboxes.BOTH
    whose = "Some" if hybrid else "All"
    if answers.certificate:
        internal = ("cloud_services_mail_enabled = true",) if hybrid else ()
        why = f"{whose} mailboxes are on servers of your own: whoever shows this certificate sends out through here."
        if answers.certificate.removeprefix("*.") not in answers.domains:
            why += (
                f" Mail with an empty or foreign sender (reports, forwarded mail) needs more: {answers.certificate} as "
                f"accepted domain too, or *.{answers.domains[0]} as name."
            )
        if hybrid:
            why += " Both halves are one organisation, so what the other half says of a message is believed."
        yield Piece(
            "inbound_connector", "Our servers", Need.NEEDED, why,
            ('connector_type = "on_premises"', f"sender_domains = {listed(answers.domains)}",
             f"tls_sender_certificate_name = {quoted(answers.certificate)}", *internal),
        )  # fmt: skip
    if answers.addresses:
        name = "Our servers by address" if answers.certificate else "Our servers"
        why = (
            f"{whose} mailboxes are on servers of your own: these addresses send out through here. An address proves "
            "less than a certificate; list no address that others share."
        )
        yield Piece(
            "inbound_connector", name, Need.OPTIONAL if answers.certificate else Need.NEEDED, why,
            ('connector_type = "on_premises"', f"sender_domains = {listed(answers.domains)}",
             f"sender_ip_addresses = {listed(answers.addresses)}"),
        )  # fmt: skip
    if answers.next_hops:
        yield _to_own_servers(answers, hybrid=hybrid)


def _to_own_servers(answers: Answers, *, hybrid: bool) -> Piece:
    level, name = _level(answers)
    lines = [
        'connector_type = "on_premises"',
        f"recipient_domains = {listed(answers.domains)}",
        "use_mx_record = false",
        f"smart_hosts = {listed(answers.next_hops)}",
        f"tls_settings = {quoted(level.value)}",
    ]
    if name:
        lines.append(f"tls_domain = {quoted(name)}")
    if hybrid and answers.certificate:
        lines.append("cloud_services_mail_enabled = true")
    why = "Mail for people on your own servers finds its way there"
    if answers.centralised:
        lines.append("route_all_messages_via_on_premises = true")
        why += ", and so does all mail to the Internet, because you want it to leave from there"
    return Piece("outbound_connector", "To our servers", Need.NEEDED, f"{why}.", tuple(lines), answers.domains[0])


def _level(answers: Answers) -> tuple[TlsLevel, str]:
    """How well the way to the own servers is secured, and the name that is checked."""
    if answers.tls:
        level = TlsLevel(answers.tls)
        needs = level is TlsLevel.DOMAIN_VALIDATION and (answers.certificate or _by_address(answers.next_hops))
        return level, (answers.certificate or f"*.{answers.domains[0]}") if needs else ""
    if answers.certificate:
        return TlsLevel.DOMAIN_VALIDATION, answers.certificate
    # Own servers that are known by address alone show a self-signed certificate as a rule.
    return (TlsLevel.ENCRYPTION_ONLY if _by_address(answers.next_hops) else TlsLevel.CERTIFICATE_VALIDATION), ""


def _by_address(hosts: Iterable[str]) -> bool:
    return any(_is_address(smart_host_parts(host)[0]) for host in hosts)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _relay(answers: Answers) -> Piece:
    why = "All mail to the Internet leaves by this server; if it wants a login, add login_user and login_secret."
    return Piece(
        "outbound_connector", "To the Internet", Need.NEEDED, why,
        ('recipient_domains = ["*"]', "use_mx_record = false", f"smart_hosts = {listed([answers.relay])}",
         'tls_settings = "encryption_only"'),
    )  # fmt: skip


def _devices(answers: Answers) -> Piece:
    why = (
        "Printers and programs that cannot log in may send to anybody from these addresses, as your domains. "
        'Old ones that end lines wrongly need bare_newlines = "normalise".'
    )
    return Piece(
        "inbound_connector", "Devices", Need.OPTIONAL, why,
        ('connector_type = "on_premises"', f"sender_domains = {listed(answers.domains)}",
         f"sender_ip_addresses = {listed(answers.devices)}"),
    )  # fmt: skip


# --- others ----------------------------------------------------------------------------------------------------------


def _partner(partner: Partner) -> Iterator[Piece]:
    named = partner.domain
    inbound = _from_partner(partner) if partner.sends else ()
    if inbound:
        why = f"Mail that says it is from {named} is refused unless it comes as agreed; it is filtered all the same."
        if partner.addresses and (partner.certificate or partner.pins):
            why += " The certificate alone proves it; addresses beside it would only be one more thing to go wrong."
        head = (f"sender_domains = {listed([named])}",)
        yield Piece("inbound_connector", f"From {named}", Need.OPTIONAL, why, (*head, *inbound))
    outbound = _to_partner(partner) if partner.receives else ()
    if outbound:
        why = f"Mail to {named} waits, and is returned in the end, rather than leave without the TLS that was agreed."
        if partner.security is Security.NONE:
            why = f"Mail to {named} goes to these servers and not by MX."
        head = (f"recipient_domains = {listed([named])}",)
        yield Piece("outbound_connector", f"To {named}", Need.OPTIONAL, why, (*head, *outbound), named)


def _from_partner(partner: Partner) -> tuple[str, ...]:
    secure = partner.security is not Security.NONE
    lines = [f"require_tls = {str(secure).lower()}"]
    if secure and partner.certificate:
        lines += ["restrict_domains_to_certificate = true",
                  f"tls_sender_certificate_name = {quoted(partner.certificate)}"]  # fmt: skip
    elif secure and partner.pins:
        lines += ["restrict_domains_to_certificate = true", f"pinned_keys = {listed(partner.pins)}"]
    elif partner.addresses:
        lines += ["restrict_domains_to_ip_addresses = true", f"sender_ip_addresses = {listed(partner.addresses)}"]
    if partner.ca_file and secure and partner.certificate:
        lines.append(f"ca_file = {quoted(partner.ca_file)}")
    return tuple(lines) if secure or len(lines) > 1 else ()


def _to_partner(partner: Partner) -> tuple[str, ...]:
    lines: list[str] = []
    if partner.hosts:
        lines += ["use_mx_record = false", f"smart_hosts = {listed(partner.hosts)}"]
    match partner.security:
        case Security.NONE:
            return tuple(lines)
        case Security.ANY:
            lines.append('tls_settings = "encryption_only"')
        case Security.CA:
            lines.append('tls_settings = "certificate_validation"')
        case Security.NAME:
            lines += ['tls_settings = "domain_validation"', f"tls_domain = {quoted(partner.certificate)}"]
        case Security.PIN:
            lines += ['tls_settings = "certificate_validation"', f"pinned_keys = {listed(partner.pins)}"]
    if partner.ca_file and partner.security in (Security.CA, Security.NAME):
        lines.append(f"ca_file = {quoted(partner.ca_file)}")
    return tuple(lines)


def _gateway(answers: Answers) -> Piece:
    lines = ['sender_domains = ["*"]', f"associated_accepted_domains = {listed(answers.domains)}"]
    if answers.gateway_certificate:
        lines += ["restrict_domains_to_certificate = true",
                  f"tls_sender_certificate_name = {quoted(answers.gateway_certificate)}"]  # fmt: skip
    else:
        lines += ["require_tls = false", "restrict_domains_to_ip_addresses = true",
                  f"sender_ip_addresses = {listed(answers.gateway_addresses)}"]  # fmt: skip
    why = "A filter service stands in front: mail for these domains that does not come by it is refused."
    if answers.enhanced_filtering and answers.centralised:
        why += " Enhanced filtering is left out: it does not go together with centralised transport."
    elif answers.enhanced_filtering:
        lines.append("ef_skip_last_ip = true")
        why += " SPF, DMARC and reputation look through it at the server behind."
    return Piece("inbound_connector", "Gateway", Need.NEEDED, why, tuple(lines))


def _site(site: Site) -> Iterator[Piece]:
    why = f"Mail for the people of {site.name} goes to the server of their site; only the rule below sends by it."
    yield Piece(
        "outbound_connector", site.name, Need.NEEDED, why,
        ('connector_type = "on_premises"', "is_transport_rule_scoped = true", "use_mx_record = false",
         f"smart_hosts = {listed(site.hosts)}", 'tls_settings = "encryption_only"'), site.domain,
    )  # fmt: skip
    who = (
        f"recipient_domain_is = {listed([site.domain])}"
        if site.domain
        else f"recipient_ad_attribute_contains_words = {{{site.attribute} = {listed(site.words)}}}"
    )
    yield Piece(
        "mail_flow_rule", f"Site {site.name}", Need.NEEDED, f"These are the people of {site.name}.",
        (who, f"route_message_outbound_connector = {quoted(site.name)}"),
    )  # fmt: skip


def _named_apart(found: Iterable[Piece]) -> Iterator[Piece]:
    """The same, no name twice in one table."""
    seen: set[tuple[str, str]] = set()
    for piece in found:
        name, number = piece.name, 2
        while (piece.table, name.casefold()) in seen:
            name, number = f"{piece.name} {number}", number + 1
        seen.add((piece.table, name.casefold()))
        yield piece._replace(name=name)


# --- text ------------------------------------------------------------------------------------------------------------


def quoted(text: str) -> str:
    """A TOML string. Only what fits into one line of a basic string comes here."""
    return json.dumps(text, ensure_ascii=False)


def listed(texts: Iterable[str]) -> str:
    """A TOML array of strings."""
    return f"[{', '.join(quoted(text) for text in texts)}]"


def _comment(text: str, width: int = 110) -> list[str]:
    """A sentence as comment lines."""
    lines: list[str] = []
    line = "#"
    for word in "".join(c if c.isprintable() else "?" for c in text).split():
        if len(line) + 1 + len(word) > width:
            lines.append(line)
            line = "#"
        line += f" {word}"
    return [*lines, line]
