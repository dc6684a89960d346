"""What has to be known to say which connectors somebody needs (specification 3.0, 3.2 to 3.9), spelled and checked."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from lockgate.mail.directory import ATTRIBUTES
from lockgate.policy.advice import Mailboxes
from lockgate.policy.networks import NetworkError, parse_networks
from lockgate.policy.spelling import domain as spelled
from lockgate.policy.spelling import smart_host_parts

_NAME = re.compile(r"[^a-z0-9-]+")
_PIN = re.compile(r"[0-9a-f]{64}")


class Unclear(ValueError):
    """An answer that cannot be used; `answer` names the option, the message says what would be right."""

    def __init__(self, answer: str, why: str) -> None:
        super().__init__(why)
        self.answer = answer


class Security(enum.StrEnum):
    """What was agreed with a partner about TLS."""

    NONE = "none"
    """Nothing."""
    ANY = "any"
    """Encryption; whatever certificate."""
    CA = "ca"
    """A certificate that a CA has issued."""
    NAME = "name"
    """A certificate of a CA for a certain name."""
    PIN = "pin"
    """A certain key, self-signed as a rule."""


class Partner(NamedTuple):
    """One partner. `hosts` are its servers where mail to it shall not go by MX.

    `receives`: we send to it; `sends`: it sends to us.
    """

    domain: str
    security: Security = Security.ANY
    certificate: str = ""
    pins: tuple[str, ...] = ()
    ca_file: str = ""
    addresses: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    receives: bool = True
    sends: bool = True


class Site(NamedTuple):
    """A site with a server of its own for some recipients: those of `domain`, or with `words` in `attribute`."""

    name: str
    hosts: tuple[str, ...]
    domain: str = ""
    attribute: str = ""
    words: tuple[str, ...] = ()


class Answers(NamedTuple):
    """All that `connector advise` asks.

    `certificate` and `addresses` are what the own servers are known by when they send to us, `next_hops` where mail for
    them goes. `relay` is a smart host for all mail to the Internet. `gateway_*` is a filter service in front.
    """

    mailboxes: Mailboxes
    organisation: str = ""
    domains: tuple[str, ...] = ()
    certificate: str = ""
    addresses: tuple[str, ...] = ()
    next_hops: tuple[str, ...] = ()
    tls: str = ""
    centralised: bool = False
    relay: str = ""
    devices: tuple[str, ...] = ()
    partners: tuple[Partner, ...] = ()
    gateway_addresses: tuple[str, ...] = ()
    gateway_certificate: str = ""
    enhanced_filtering: bool = True
    sites: tuple[Site, ...] = ()

    @property
    def own_servers(self) -> bool:
        """Whether any mailbox is on servers of the organisation."""
        return self.mailboxes is not Mailboxes.HOSTED

    @property
    def gateway(self) -> bool:
        """Whether a filter service stands in front."""
        return bool(self.gateway_addresses or self.gateway_certificate)

    @property
    def name(self) -> str:
        """The organisation's name, made of the first domain if none is given."""
        return self.organisation or _NAME.sub("-", self.domains[0].partition(".")[0].lower()).strip("-") or "main"


_LEVELS = ("opportunistic", "encryption_only", "certificate_validation", "domain_validation")


def checked(answers: Answers, *, whole: bool = True) -> Answers:
    """The same answers, spelled as documents want them. Raises Unclear.

    Without `whole` it may be left open where the own servers are and by what they are known.
    """
    domains = tuple(dict.fromkeys(_each("domain", answers.domains, spelled)))
    if not domains:
        raise Unclear("domain", "say for which domains mail is received: --domain contoso.com")
    if answers.own_servers and whole:
        if not answers.next_hops:
            raise Unclear("next-hop", "say where mail for your own servers goes: --next-hop mail.contoso.com")
        if not answers.certificate and not answers.addresses:
            raise Unclear("own-certificate", "say by what your own servers are known when they send to us: "
                          "--own-certificate mail.contoso.com (better) or --own-address 192.0.2.10")  # fmt: skip
    if answers.centralised and answers.mailboxes is not Mailboxes.BOTH:
        raise Unclear("centralised", "centralised transport is for mailboxes on both sides: answer both")
    if answers.tls and answers.tls not in _LEVELS:
        raise Unclear("own-tls", f"'{answers.tls[:40]}' is no TLS level; there are {', '.join(_LEVELS)}")
    certificate = _certificate("own-certificate", answers.certificate)
    if certificate and not _ties(certificate, domains):
        why = f"{certificate} is not a name of your domains ({', '.join(domains)}): it would prove nothing"
        raise Unclear("own-certificate", f"{why}; *.DOMAIN covers all names below one of them")
    return answers._replace(
        domains=domains,
        certificate=certificate,
        addresses=_networks("own-address", answers.addresses),
        next_hops=_hosts("next-hop", answers.next_hops),
        relay=_hosts("relay", [answers.relay])[0] if answers.relay else "",
        devices=_networks("device", answers.devices),
        gateway_addresses=_networks("gateway", answers.gateway_addresses),
        gateway_certificate=_certificate("gateway-certificate", answers.gateway_certificate),
        partners=tuple([_partner(one) for one in answers.partners]),
        sites=tuple([_site(one) for one in answers.sites]),
    )


def partner_of(text: str) -> Partner:
    """A partner out of "contosobank.com,tls=name,certificate=*.contosobank.com,direction=in". Raises Unclear."""
    domain, given = _pairs("partner", text, {"tls", "certificate", "pin", "ca_file", "address", "host", "direction"})
    direction = given.get("direction", ["both"])[-1]
    if direction not in ("in", "out", "both"):
        raise Unclear("partner", f"direction is in, out or both, not '{direction[:40]}'")
    certificate = given.get("certificate", [""])[-1]
    word = given.get("tls", ["name" if certificate else "pin" if "pin" in given else "any"])[-1]
    try:
        security = Security(word)
    except ValueError:
        raise Unclear("partner", f"tls is {', '.join(Security)}, not '{word[:40]}'") from None
    return Partner(
        domain, security, certificate, tuple(given.get("pin", ())), given.get("ca_file", [""])[-1],
        tuple(given.get("address", ())), tuple(given.get("host", ())), direction != "in", direction != "out",
    )  # fmt: skip


def site_of(text: str) -> Site:
    """A site out of "NOLA,host=gw.nola.contoso.com,city=New Orleans" (or domain=nola.contoso.com). Raises Unclear."""
    name, given = _pairs("site", text, {"host", "domain", *ATTRIBUTES})
    attribute = next((key for key in given if key in ATTRIBUTES), "")
    return Site(
        name, tuple(given.get("host", ())), given.get("domain", [""])[-1], attribute, tuple(given.get(attribute, ()))
    )


def _pairs(answer: str, text: str, known: set[str]) -> tuple[str, dict[str, list[str]]]:
    """The first word, and key=value pairs behind commas; a key may come again."""
    first, *rest = [part.strip() for part in text.split(",")]
    if not first or "=" in first:
        raise Unclear(answer, f"'{text[:80]}' must begin with a name, then key=value pairs behind commas")
    given: dict[str, list[str]] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not value.strip() or key not in known:
            raise Unclear(answer, f"'{part[:60]}' is not understood; there are {', '.join(sorted(known))}")
        given.setdefault(key, []).append(value.strip())
    return first, given


def _partner(partner: Partner) -> Partner:
    certificate = _certificate("partner", partner.certificate)
    if partner.security is Security.PIN and not partner.pins:
        why = f"say the key of {partner.domain}: pin=SHA-256 of its public key (connector validate shows it)"
        raise Unclear("partner", why)
    pins = tuple([pin.lower().replace(":", "") for pin in partner.pins])
    for pin in pins:
        if not _PIN.fullmatch(pin):
            raise Unclear("partner", f"'{pin[:80]}' is no SHA-256 of a public key: it has 64 hexadecimal digits")
    if partner.security is Security.NAME and not certificate:
        raise Unclear("partner", f"say the name in the certificate of {partner.domain}: certificate=*.{partner.domain}")
    return partner._replace(
        domain=_each("partner", [partner.domain], spelled)[0],
        certificate=certificate,
        pins=pins,
        addresses=_networks("partner", partner.addresses),
        hosts=_hosts("partner", partner.hosts),
    )


def _site(site: Site) -> Site:
    if not site.hosts:
        raise Unclear("site", f"say where mail for {site.name[:60]} goes: host=gateway.of.the.site")
    if bool(site.domain) == bool(site.attribute):
        raise Unclear("site", f"say who belongs to {site.name[:60]}: domain=NAME, or one attribute such as city=NAME")
    domain = _each("site", [site.domain], spelled)[0] if site.domain else ""
    return site._replace(hosts=_hosts("site", site.hosts), domain=domain)


def _ties(certificate: str, domains: Sequence[str]) -> bool:
    """Whether a certificate's name is one of the organisation (specification 2.3 rule 8)."""
    base = certificate.removeprefix("*.")
    if base in domains:
        return True
    return not certificate.startswith("*.") and any(base.endswith(f".{domain}") for domain in domains)


def _each(answer: str, texts: Iterable[str], spell: Callable[[str], str]) -> tuple[str, ...]:
    found: list[str] = []
    for text in texts:
        try:
            found.append(spell(text.strip()))
        except ValueError as trouble:
            raise Unclear(answer, str(trouble)) from None
    return tuple(found)


def _certificate(answer: str, text: str) -> str:
    if not text:
        return ""
    star = "*." if text.strip().startswith("*.") else ""
    return star + _each(answer, [text.strip().removeprefix("*.")], spelled)[0]


def _networks(answer: str, texts: Iterable[str]) -> tuple[str, ...]:
    found: list[str] = []
    for text in texts:
        try:
            parse_networks(text.strip())
        except NetworkError as trouble:
            raise Unclear(answer, str(trouble)) from None
        found.append(text.strip())
    return tuple(dict.fromkeys(found))


def _hosts(answer: str, texts: Iterable[str]) -> tuple[str, ...]:
    def spell(text: str) -> str:
        smart_host_parts(text)
        return text

    return tuple(dict.fromkeys(_each(answer, texts, spell)))
