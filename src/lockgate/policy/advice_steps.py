"""What the other side has to configure for the advised connectors, and the commands that prove them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator

from lockgate.policy.advice import Mailboxes
from lockgate.policy.advice_answers import Answers, Partner, Security
from lockgate.policy.advice_documents import Piece


def other_side(answers: Answers, hostname: str) -> tuple[str, ...]:
    """One sentence for each thing that somebody else configures; `hostname` is our name ("" if not known)."""
    us = hostname or "this server"
    found: list[str] = []
    if answers.own_servers:
        found += _own_servers(answers, us)
    if answers.devices:
        found.append(f"Devices: enter {us}, port 25, without login, and a sender address of your domains.")
    for partner in answers.partners:
        found += _partner(partner, us)
    if answers.gateway:
        found.append(f"The filter service: deliver to {us}, port 25, with TLS; the MX of your domains stays with it.")
        found.append("DNS: the MX names the filter service; nobody else has to know this server's name.")
    for site in answers.sites:
        found.append(f"The server of {site.name}: accept mail for its people from our addresses, and offer STARTTLS.")
    return tuple(found)


def _own_servers(answers: Answers, us: str) -> Iterator[str]:
    yield f"Your servers: send outgoing mail to {us} as smart host, port 25, with STARTTLS."
    if answers.certificate:
        yield (
            f"Your servers: show a certificate for {answers.certificate} when they send (client certificate, the whole "
            "chain with intermediates), and the same when they receive."
        )
    yield "Your servers: accept mail for your domains from our addresses on port 25, and from nobody else in the end."
    if not answers.gateway:
        yield f"DNS: the MX of {', '.join(answers.domains)} names {us}, once a test message has arrived."
    if answers.mailboxes is Mailboxes.BOTH:
        yield (
            "Your servers: people whose mailbox is here get a target address that leads to this server; here, people "
            "whose mailbox is there are mail users (lockgate recipient import)."
        )
        yield "Between both, no device may change messages: it would take away what one half tells the other."


def _partner(partner: Partner, us: str) -> Iterator[str]:
    name = partner.domain
    if partner.sends and partner.security is not Security.NONE:
        shown = ""
        if partner.certificate:
            shown = f", showing a certificate for {partner.certificate} with the whole chain"
        elif partner.pins:
            shown = ", showing the certificate with the key that is pinned"
        yield f"{name}: send to {us} with STARTTLS{shown}; else its mail is refused with a reason."
    elif partner.sends and partner.addresses:
        yield f"{name}: send only from {', '.join(partner.addresses)}; else its mail is refused with a reason."
    if partner.receives and partner.security is not Security.NONE:
        what = {
            Security.ANY: "any certificate does",
            Security.CA: "with a certificate of a CA that is trusted here, and its intermediates",
            Security.NAME: f"with a certificate for {partner.certificate}, and its intermediates",
            Security.PIN: "with the key that is pinned; a new key has to be told to you before it is used",
        }[partner.security]
        yield f"{name}: offer STARTTLS, {what}."


def proofs(advised: Iterable[Piece], what_if: Answers) -> tuple[str, ...]:
    """The commands that prove the advised connectors, in order."""
    found: list[str] = []
    for piece in advised:
        if piece.table == "outbound_connector":
            whom = f"someone@{piece.tries}" if piece.tries else "someone@elsewhere.example"
            found.append(f"lockgate connector validate {shlex.quote(piece.name)} --to {whom}")
    home = what_if.domains[0]
    found += [
        f"lockgate what-if --from someone@{partner.domain} --to someone@{home} --ip 198.51.100.1"
        for partner in what_if.partners
        if partner.sends
    ]
    if what_if.gateway:
        found.append(f"lockgate what-if --from someone@elsewhere.example --to someone@{home} --ip 198.51.100.1")
    if what_if.devices or what_if.own_servers:
        addresses = [*what_if.devices, *what_if.addresses]
        peer = next((one for one in addresses if re.fullmatch(r"[0-9.]+", one)), "198.51.100.1")
        found.append(f"lockgate what-if --from someone@{home} --to someone@elsewhere.example --ip {peer}")
    return tuple(dict.fromkeys(found))
