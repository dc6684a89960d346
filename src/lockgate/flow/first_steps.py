"""From six answers to the documents of a new installation, the DNS lines it needs, and what to do next. Pure."""

from __future__ import annotations

import enum
import ipaddress
import json
import re
from collections.abc import Sequence

import msgspec

from lockgate.mail.address import AddressError, parse_domain

_PORT = re.compile(r":(\d{1,5})$")
_NAME = re.compile(r"[^a-z0-9-]+")


class Mailboxes(enum.StrEnum):
    """Where the people's mailboxes are."""

    HERE = "here"
    THERE = "there"
    BOTH = "both"


class MxNow(enum.StrEnum):
    """Who receives the domains' mail today."""

    US = "us"
    THERE = "there"
    ELSEWHERE = "elsewhere"


class Knowing(enum.StrEnum):
    """How we know who exists."""

    FILE = "file"
    ASK = "ask"
    ALL = "all"


class Mistake(ValueError):
    """An answer that cannot be used; `answer` names it, the message says what would be right."""

    def __init__(self, answer: str, why: str) -> None:
        super().__init__(why)
        self.answer = answer


class Answers(msgspec.Struct, frozen=True):
    """What `lockgate init` asks. `senders` are addresses, networks or certificate names of servers that send by us.

    `next_hop` is "host" or "host:port", needed unless all mailboxes are here. `address` is the public address of this
    machine as far as known, "" if not. `port` is where we listen.
    """

    hostname: str
    domains: tuple[str, ...]
    mailboxes: Mailboxes
    mx: MxNow
    knowing: Knowing
    senders: tuple[str, ...] = ()
    next_hop: str = ""
    address: str = ""
    port: int = 2525

    @property
    def lists(self) -> bool:
        """Whether people are read from a list: whoever has a mailbox here has to stand in one."""
        return self.knowing is Knowing.FILE or self.mailboxes is not Mailboxes.THERE

    @property
    def organisation(self) -> str:
        """A short name made of the first domain."""
        return _NAME.sub("-", self.domains[0].partition(".")[0].lower()).strip("-") or "main"


class DnsLine(msgspec.Struct, frozen=True):
    """One record to be entered at the place that keeps the zone, and what it is for."""

    name: str
    kind: str
    value: str
    why: str
    later: bool = False

    def __str__(self) -> str:
        value = json.dumps(self.value) if self.kind == "TXT" else self.value
        return f"{self.name}. 3600 IN {self.kind} {value}"


def full_name(text: str) -> str:
    """A host name with at least one dot, as A-labels. Raises ValueError."""
    try:
        name = parse_domain(text.strip().rstrip("."))
    except AddressError as trouble:
        raise ValueError(str(trouble)) from None
    if "." not in name or name.startswith("["):
        raise ValueError("write a full name such as mx1.example.com")
    return name


def checked(answers: Answers) -> Answers:
    """The same answers, spelled as documents want them. Raises Mistake."""
    try:
        hostname = full_name(answers.hostname)
    except ValueError as trouble:
        raise Mistake("hostname", f"{answers.hostname[:80]}: {trouble}") from None
    domains: list[str] = []
    for text in answers.domains:
        try:
            domains.append(full_name(text))
        except ValueError as trouble:
            raise Mistake("domain", f"{text[:80]}: {trouble}") from None
    if not domains:
        raise Mistake("domain", "name at least one domain whose mail we shall receive")
    if answers.mailboxes is Mailboxes.HERE and answers.knowing is not Knowing.FILE:
        raise Mistake("recipients", "mailboxes that are here have to be known: answer 'file'")
    return msgspec.structs.replace(
        answers,
        hostname=hostname,
        domains=tuple(dict.fromkeys(domains)),
        next_hop=_next_hop(answers),
        address=_address(answers.address),
        senders=tuple([_sender(text, domains) for text in answers.senders]),
    )


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip())) if text.strip() else ""
    except ValueError:
        raise Mistake("address", f"'{text[:80]}' is no IP address; say one, or nothing") from None


def _host(next_hop: str) -> str:
    """A next hop without its port and brackets; a bare IPv6 address has no port."""
    try:
        return str(ipaddress.ip_address(next_hop))
    except ValueError:
        return _PORT.sub("", next_hop).strip("[]")


def _next_hop(answers: Answers) -> str:
    text = answers.next_hop.strip()
    if answers.mailboxes is Mailboxes.HERE:
        return ""
    if not text:
        raise Mistake("next-hop", "say where the other mailboxes are: host or host:port")
    host = _host(text)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            full_name(host)
        except ValueError as trouble:
            raise Mistake("next-hop", f"{text[:80]}: {trouble}") from None
    return text


def _sender(text: str, domains: Sequence[str]) -> str:
    try:
        return str(ipaddress.ip_network(text.strip()))
    except ValueError:
        pass
    star = "*." if text.strip().startswith("*.") else ""
    try:
        name = full_name(text.strip().removeprefix("*."))
    except ValueError:
        what = f"'{text[:80]}' is neither an address, nor a network (192.0.2.0/28), nor a name in a certificate"
        raise Mistake("sender", what) from None
    # The name must tie back to the organisation (specification 2.2), or anybody's certificate would be as good.
    if name in domains or (not star and any(name.endswith(f".{domain}") for domain in domains)):
        return star + name
    what = f"{star}{name} is not a name of your domains ({', '.join(domains)}): it would prove nothing"
    raise Mistake("sender", what)


# --- documents -------------------------------------------------------------------------------------------------------


def documents(answers: Answers) -> dict[str, str]:
    """The files of the installation, {relative path: text}; secrets and certificates are not among them."""
    files = {
        "lockgate.toml": _operator(answers),
        "policy/organisation.toml": _organisation(answers),
    }
    if connectors := _connectors(answers):
        files["policy/connectors.toml"] = connectors
    if answers.lists:
        files["recipients.csv"] = _recipients(answers)
    return files


def _operator(answers: Answers) -> str:
    text = f"""\
# The operator's file: what cannot change while Lockgate runs. `lockgate config check` reads it.
hostname = {_quoted(answers.hostname)}

# Both families; mail from the Internet comes to port 25 (docs/operations.md says how to get there without root).
[[listener]]
address = "0.0.0.0"
port = {answers.port}

[[listener]]
address = "::"
port = {answers.port}

# Self-signed, good enough for opportunistic TLS; put a public one in its place, it is taken up while we run.
# Or have public ones ordered and renewed: [acme], see docs/certificates.md.
[[certificate]]
chain = "tls/{answers.hostname}.pem"
key = "tls/{answers.hostname}.key"

[log]
destination = "stderr"
"""
    if answers.mailboxes is not Mailboxes.THERE:
        text += """
# Recipients of the kind "mailbox" have their Maildirs below this folder (docs/mailboxes.md); it must be there.
[mailboxes]
directory = "state/mail"
"""
    host = _host(answers.next_hop)
    if _is_loopback(host):
        text += f"""
# Outgoing connections to this very machine are refused unless they are listed.
[outgoing]
allow = [{_quoted(f"{host}/{128 if ':' in host else 32}")}]
"""
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _organisation(answers: Answers) -> str:
    text = f"""\
# Whose mail this is. `lockgate check` finds every mistake, `lockgate plan` says what a change would do.
[[organisation]]
name = {_quoted(answers.organisation)}
"""
    for number, domain in enumerate(answers.domains):
        text += f"""
[[accepted_domain]]
domain_name = {_quoted(domain)}
vouched_by_operator = true       # you answer for the domain; without it, a TXT record has to prove it
"""
        if number == 0:
            text += "default = true\n"
        match answers.knowing:
            case Knowing.ALL:
                text += 'domain_type = "internal_relay"   # everybody is passed on; nobody is refused here\n'
            case Knowing.ASK:
                text += 'recipient_validation = "call_forward"   # the next server is asked who exists\n'
            case Knowing.FILE:
                text += "# authoritative: who is not among the recipients is refused with 550 5.4.1\n"
    return text


def _connectors(answers: Answers) -> str:
    domains = ", ".join(_quoted(domain) for domain in answers.domains)
    parts: list[str] = []
    if answers.next_hop:
        parts.append(f"""\
# Mail for our domains goes to the server with the mailboxes. TLS is used when it offers it; demand it with
# tls_settings = "encryption_only", "certificate_validation" or "domain_validation".
[[outbound_connector]]
name = "To our mailboxes"
connector_type = "on_premises"
recipient_domains = [{domains}]
use_mx_record = false
smart_hosts = [{_quoted(answers.next_hop)}]
tls_settings = "opportunistic"
""")
    addresses = [text for text in answers.senders if "/" in text]
    names = [text for text in answers.senders if "/" not in text]
    if addresses:
        parts.append(f"""\
# These may send for our domains to anybody; nobody else may.
[[inbound_connector]]
name = "Our servers"
connector_type = "on_premises"
sender_domains = [{domains}]
sender_ip_addresses = [{", ".join(_quoted(text) for text in addresses)}]
""")
    parts += [
        f"""\
# Whoever shows this certificate may send for our domains to anybody.
[[inbound_connector]]
name = {_quoted(f"Certificate {name}")}
connector_type = "on_premises"
sender_domains = [{domains}]
tls_sender_certificate_name = {_quoted(name)}
"""
        for name in names
    ]
    return "\n".join(parts)


def _recipients(answers: Answers) -> str:
    kind = "mail_user" if answers.mailboxes is Mailboxes.THERE else "mailbox"
    return f"address,kind,aliases,display_name\npostmaster@{answers.domains[0]},{kind},,Postmaster\n"


def _quoted(text: str) -> str:
    return json.dumps(text)


# --- DNS and next steps ----------------------------------------------------------------------------------------------


def dns_lines(answers: Answers) -> tuple[DnsLine, ...]:
    """The records that make mail find us and others believe us; `later` marks what moves mail to us."""
    lines: list[DnsLine] = []
    if answers.address:
        kind = "AAAA" if ":" in answers.address else "A"
        lines.append(DnsLine(answers.hostname, kind, answers.address, "our name leads to this machine"))
        reverse = ipaddress.ip_address(answers.address).reverse_pointer
        lines.append(DnsLine(reverse, "PTR", f"{answers.hostname}.", "it leads back (the network's owner enters it)"))
    # As long as mail still leaves by the other server as well, its name belongs into the record.
    also = f" a:{_host(answers.next_hop)}" if _names_a_host(answers.next_hop) else ""
    for domain in answers.domains:
        lines.append(DnsLine(domain, "MX", f"10 {answers.hostname}.", "mail for the domain comes to us", later=True))
        spf = f"v=spf1 mx a:{answers.hostname}{also} ~all"
        lines.append(DnsLine(domain, "TXT", spf, "who may send for the domain (merge it with a record that is there)"))
        dmarc = f"v=DMARC1; p=none; rua=mailto:postmaster@{domain}"
        lines.append(DnsLine(f"_dmarc.{domain}", "TXT", dmarc, "others report who sends in the domain's name"))
    return tuple(lines)


def _names_a_host(next_hop: str) -> bool:
    host = _host(next_hop)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return bool(host)
    return False


def next_steps(answers: Answers) -> tuple[str, ...]:
    """What is still to be done, in order, each with its command."""
    steps = [
        "lockgate preflight    # names, ports, certificates, next hops: what is missing, and the line that mends it",
        "lockgate serve        # or the systemd unit; everything below speaks to the running service",
    ]
    if answers.lists:
        whom = "your people" if answers.knowing is Knowing.FILE else "those whose mailbox is here"
        steps.append(f"lockgate recipient import recipients.csv    # after you have put {whom} into it")
    first = answers.domains[0]
    steps.append(f"lockgate what-if --from someone@elsewhere.example --to postmaster@{first} --ip 198.51.100.1")
    if answers.mx is MxNow.US:
        steps.append("enter the DNS lines above")
    else:
        steps.append("enter the DNS lines above, the MX last, after a test message to this server has arrived")
    return tuple(steps)
