"""The questions of `connector advise` to a person at the terminal, one after the other."""

from __future__ import annotations

import typer

from lockgate.policy.advice import Mailboxes
from lockgate.policy.advice_answers import Answers, Partner, Security, Site

_SECURITY = ", ".join(Security)


def asked(answers: Answers, *, devices: bool, partners: bool) -> Answers:
    """The answers, completed by asking; what was given already is not asked again."""
    if not answers.devices and (devices or typer.confirm("Do devices or programs send mail that cannot log in?")):
        answers = answers._replace(devices=_words("  Their addresses (192.0.2.40, 192.0.2.0/28), with blanks between"))
    if not answers.partners and (
        partners or typer.confirm("Is there a partner whose mail must be in TLS, or from certain addresses?")
    ):
        answers = answers._replace(partners=_partners())
    if not answers.gateway and typer.confirm("Does a filter service or another gateway stand in front of this server?"):
        answers = _gateway(answers)
    if not answers.sites and typer.confirm("Do some recipients have a server of their own (a site)?"):
        answers = answers._replace(sites=_sites())
    if answers.own_servers:
        answers = _own_servers(answers)
    if not answers.relay:
        answers = answers._replace(relay=_word("Server by which all mail to the Internet leaves (none: by MX)"))
    something = answers.own_servers or answers.relay or answers.devices or answers.partners or answers.gateway
    if (something or answers.sites) and not answers.domains:
        answers = answers._replace(domains=_words("The domains whose mail is received here, with blanks between"))
    return answers


def _own_servers(answers: Answers) -> Answers:
    if not answers.next_hops:
        answers = answers._replace(next_hops=_words("Where does mail for your own servers go (host or host:port)?"))
    if not answers.certificate and not answers.addresses:
        shown = _word("Name in the certificate they show when they send (none: by address)")
        answers = answers._replace(certificate=shown)
        if not answers.certificate:
            answers = answers._replace(addresses=_words("Their addresses, with blanks between"))
    if answers.mailboxes is Mailboxes.BOTH and not answers.centralised:
        central = typer.confirm("Shall all mail to the Internet leave by your own servers?")
        answers = answers._replace(centralised=central)
    return answers


def _partners() -> tuple[Partner, ...]:
    found: list[Partner] = []
    while domain := _word("  Domain of the partner (empty: no more)"):
        text = typer.prompt(f"    TLS that was agreed on ({_SECURITY})", default=Security.ANY.value)
        security = Security(text) if text in [*Security] else Security.ANY
        certificate = pin = ca_file = ""
        if security is Security.NAME:
            certificate = typer.prompt("    Name in its certificate", default=f"*.{domain}")
        if security is Security.PIN:
            pin = typer.prompt("    SHA-256 of its public key (64 digits)")
        if security in (Security.CA, Security.NAME):
            ca_file = _word("    File with its own CA (none: the public ones)")
        anywhere = "    Addresses it sends from (none: from anywhere)"
        addresses = () if certificate or pin else _words(anywhere, empty=True)
        found.append(
            Partner(
                domain, security, certificate, (pin,) if pin else (), ca_file, addresses,
                receives=typer.confirm("    Do you send to it?", default=True),
                sends=typer.confirm("    Does it send to you?", default=True),
            )
        )  # fmt: skip
    return tuple(found)


def _gateway(answers: Answers) -> Answers:
    certificate = _word("  Name in its certificate (none: by address)")
    addresses = () if certificate else _words("  Its addresses, with blanks between")
    look_through = typer.confirm("  Shall SPF, DMARC and reputation look at the server behind it?", default=True)
    return answers._replace(
        gateway_certificate=certificate, gateway_addresses=addresses, enhanced_filtering=look_through
    )


def _sites() -> tuple[Site, ...]:
    found: list[Site] = []
    while name := _word("  Name of the site (empty: no more)"):
        hosts = _words("    Its server (host or host:port)")
        domain = _word("    Domain of its people (none: they are told apart by an attribute)")
        attribute = "" if domain else typer.prompt("    Attribute in the list of recipients", default="city")
        words = () if domain else (str(typer.prompt(f"    Value of {attribute}", default=name)),)
        found.append(Site(name, hosts, domain, attribute, words))
    return tuple(found)


def _word(question: str) -> str:
    return str(typer.prompt(question, default="", show_default=False)).strip()


def _words(question: str, *, empty: bool = False) -> tuple[str, ...]:
    text = _word(question) if empty else str(typer.prompt(question))
    return tuple(text.replace(",", " ").split())
