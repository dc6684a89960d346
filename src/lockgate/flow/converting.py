"""From standalone to hybrid and back, by documents alone: what is added is a file of its own (specification 2.6, 3.3).

Nothing that was written before is touched: every earlier object is equal afterwards, property by property. The way back
takes out what the way there has added, known by its comment, and says what stays.
"""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lockgate.decision.route import ranked
from lockgate.policy.compile import Understood, understand
from lockgate.policy.differences import What, differences
from lockgate.policy.documents import Documents, Written
from lockgate.policy.editing import CannotEdit, Place, removed
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.ties import accepted_by_organisation, certificate_proves_alone

FILES = ("hybrid.toml", "00-hybrid.toml")
"""The new document; the second name where it has to be read before others, so that its connector is found first."""

MARK = "Added by lockgate convert hybrid"
"""How the comment of an added object begins."""

INBOUND = "Hybrid from on-premises"
OUTBOUND = ("Hybrid to on-premises", "0 Hybrid to on-premises", "! Hybrid to on-premises")
"""Names of the new connector to on-premises; a later one where an equal connector would be taken first by its name."""

STORE = "Hybrid mailboxes"


class CannotConvert(Exception):
    """The documents cannot be converted by program; the message says why and what to do."""


class Site(NamedTuple):
    """What is needed to know of the installation: its host name, and whether the operator keeps mailboxes."""

    hostname: str
    keeps_mailboxes: bool = False


class Wishes(NamedTuple):
    """What has to be asked. `host` is the on-premises server ("name" or "name:port"), `certificate` the name in its
    certificate; `central` means that all mail goes by on-premises. `proof` is the token of the TXT record of the
    coexistence domain ("": the operator vouches for it). `mailboxes` is an LMTP server, if a new one shall keep them.
    """

    host: str
    certificate: str
    coexistence: str
    central: bool = False
    organisation: str = ""
    proof: str = ""
    ca_file: str = ""
    client_chain: str = ""
    client_key: str = ""
    mailboxes: str = ""


class _Attempt(NamedTuple):
    """A document that could be added, and what mail would still not take its connectors, and why."""

    file: str
    text: str
    after: Understood
    missed: tuple[str, ...]


class Conversion(NamedTuple):
    """All documents as they would be; those that are new or changed, and the names of those that go; what people should
    know.
    """

    files: Mapping[str, str]
    written: Mapping[str, str]
    removed: tuple[str, ...]
    notes: tuple[str, ...]


def to_hybrid(files: Mapping[str, str], wishes: Wishes, site: Site) -> Conversion:
    """The documents with what a hybrid needs besides. Raises CannotConvert; Invalid for mistakes in either."""
    before = _read(files, site)
    wishes = _sensible(before, wishes)
    domains = _domains(before, wishes.organisation)
    best = _best(before, wishes, domains, files, site)
    after = best.after
    others = [one for one in differences(before.documents, after.documents) if one.what is not What.ADDED]
    if others:
        raise CannotConvert(f"{others[0].table} '{others[0].name}' would not stay as it is; nothing is written")
    notes = (*best.missed, *_notes(before, wishes, site))
    return Conversion({**files, best.file: best.text}, {best.file: best.text}, (), notes)


def to_standalone(files: Mapping[str, str], organisation: str, site: Site) -> Conversion:
    """The documents without what `to_hybrid` has added. Raises CannotConvert; Invalid if something still needs it."""
    before = _read(files, site)
    organisation = _organisation(before.documents, organisation)
    mine = [one for one in before.documents.everything() if getattr(one.value, "organisation", "") == organisation]
    added = [written for written in mine if _is_added(written)]
    if not added:
        raise CannotConvert(f"nothing of {organisation} bears the comment '{MARK}'; there is nothing to take out")
    try:
        after = removed(files, [Place(one.file, one.table, one.index) for one in added])
    except CannotEdit as trouble:
        raise CannotConvert(str(trouble)) from None
    gone = tuple(name for name in FILES if name in after and not tomllib.loads(after[name]))
    after = {name: text for name, text in after.items() if name not in gone}
    _read(after, site)
    changed = {name: text for name, text in after.items() if files.get(name) != text}
    return Conversion(after, changed, gone, tuple(_staying(mine)))


# --- what is there ---------------------------------------------------------------------------------------------------


def _read(files: Mapping[str, str], site: Site) -> Understood:
    return understand(files, hostname=site.hostname, revision=0, keeps_mailboxes=site.keeps_mailboxes)


def _organisation(documents: Documents, named: str) -> str:
    known = [written.value.name for written in documents.organisations]
    if named in known:
        return named
    if named or len(known) != 1:
        listed = ", ".join(known) or "there is none"
        raise CannotConvert(f"say which organisation is meant: {listed}")
    return known[0]


def _sensible(before: Understood, wishes: Wishes) -> Wishes:
    wishes = wishes._replace(organisation=_organisation(before.documents, wishes.organisation))
    for written in before.documents.everything():
        if _is_added(written) and written.value.organisation == wishes.organisation:
            raise CannotConvert(f"{wishes.organisation} was converted already ({written.file}); edit what is there")
    for written in before.documents.domains:
        domain = written.value
        if domain.organisation == wishes.organisation and domain.coexistence:
            raise CannotConvert(f"{domain.domain_name} in {written.file} is a coexistence domain already; there is one")
    return wishes


def _domains(before: Understood, organisation: str) -> tuple[AcceptedDomain, ...]:
    found = tuple(one.value for one in before.documents.domains if one.value.organisation == organisation)
    if not found:
        raise CannotConvert(f"{organisation} has no accepted domain; add the one that both sides share first")
    return found


def _best(
    before: Understood, wishes: Wishes, domains: tuple[AcceptedDomain, ...], files: Mapping[str, str], site: Site
) -> _Attempt:
    """The first way of writing it by which all mail takes the new connectors, else the one by which most does."""
    certificates = tuple(dict.fromkeys(_certificates(before, wishes)))
    if not certificates:
        raise CannotConvert(
            f"{wishes.certificate} does not tie back to an accepted domain of {wishes.organisation}, so a server that "
            "shows it could be anybody's; on-premises needs a certificate with a name below one of these domains"
        )
    best: _Attempt | None = None
    for file, name, certificate in itertools.product(FILES, OUTBOUND, certificates):
        text = _document(wishes, domains, name, certificate)
        after = _read({**files, file: text}, site)
        attempt = _Attempt(file, text, after, _missed(after, wishes, domains, name))
        if best is None or len(attempt.missed) < len(best.missed):
            best = attempt
        if not attempt.missed:
            break
    if best is None:
        raise RuntimeError("no way of writing it was tried")
    return best


def _certificates(before: Understood, wishes: Wishes) -> Iterator[str]:
    """Names for the inbound connector, the narrowest first.

    The name has to tie back to an accepted domain, so that mail of any sender is taken for what on-premises sends
    (2.3 rule 8), and no earlier connector may be found first for the same certificate.
    """
    accepted = accepted_by_organisation(before.documents.domains).get(wishes.organisation)
    names = [wishes.certificate]
    parent = wishes.certificate.removeprefix("*.").partition(".")[2]
    while "." in parent:
        names.append(f"*.{parent}")
        parent = parent.partition(".")[2]
    there = before.policy.own_servers_named(wishes.certificate)
    names += [one.tls_sender_certificate_name or "" for one in there if one.organisation == wishes.organisation]
    return (name for name in names if certificate_proves_alone(name, accepted))


def _missed(
    after: Understood, wishes: Wishes, domains: tuple[AcceptedDomain, ...], outbound: str
) -> tuple[str, ...]:
    """What keeps mail from the new connectors, told as it has to be changed by hand."""
    policy = after.policy
    mine = policy.organisations[wishes.organisation]
    found: list[str] = []
    for domain in domains:
        first = next(ranked(policy, mine, domain.domain_name, central=wishes.central), None)
        if first is not None and first[0].name != outbound:
            found.append(
                f"mail for {domain.domain_name} still leaves by '{first[0].name}' ({first[1]}), without the hybrid "
                "switch; give it a higher cost, or set cloud_services_mail_enabled = true there"
            )
    servers = sorted(policy.own_servers_named(wishes.certificate), key=lambda one: not policy.proves_alone(one))
    if servers and servers[0].name != INBOUND:
        found.append(
            f"sessions with the certificate {wishes.certificate} are still taken for '{servers[0].name}'; set "
            "cloud_services_mail_enabled = true there, or take its certificate name away"
        )
    return tuple(found)


def _is_added(written: Written[Any]) -> bool:
    return str(getattr(written.value, "comment", "")).startswith(MARK)


# --- what is written -------------------------------------------------------------------------------------------------


def _document(wishes: Wishes, domains: tuple[AcceptedDomain, ...], outbound: str, certificate: str) -> str:
    names = [name for one in domains for name in _patterns(one)]
    tables = [
        _coexistence(wishes),
        _inbound(wishes, certificate),
        _outbound(wishes, outbound, names),
        *([_store(wishes)] if wishes.mailboxes else []),
    ]
    return f"# Hybrid of {wishes.organisation}: {MARK.lower()}; `lockgate convert standalone` takes it out.\n\n" + (
        "\n".join(tables)
    )


def _patterns(domain: AcceptedDomain) -> tuple[str, ...]:
    plain = domain.domain_name
    return (plain, f"*.{plain}") if domain.match_sub_domains else (plain,)


def _coexistence(wishes: Wishes) -> str:
    values: dict[str, Any] = {"domain_name": wishes.coexistence, "coexistence": True}
    values |= {"proof": wishes.proof} if wishes.proof else {"vouched_by_operator": True}
    about = "On-premises addresses the mailboxes that live here by this domain: ana@contoso.com is ana@<this domain>."
    return _table("accepted_domain", about, wishes, values)


def _inbound(wishes: Wishes, certificate: str) -> str:
    values: dict[str, Any] = {
        "name": INBOUND, "connector_type": "on_premises", "sender_domains": ["*"],
        "tls_sender_certificate_name": certificate, "cloud_services_mail_enabled": True,
        "connector_source": "hybrid_wizard",
    }  # fmt: skip
    if wishes.ca_file:
        values["ca_file"] = wishes.ca_file
    return _table("inbound_connector", "What on-premises sends us, known by its certificate alone.", wishes, values)


def _outbound(wishes: Wishes, name: str, domains: list[str]) -> str:
    values: dict[str, Any] = {
        "name": name, "connector_type": "on_premises", "recipient_domains": domains, "use_mx_record": False,
        "smart_hosts": [wishes.host], "tls_settings": "domain_validation", "tls_domain": wishes.certificate,
        "cloud_services_mail_enabled": True, "connector_source": "hybrid_wizard",
    }  # fmt: skip
    if wishes.ca_file:
        values["ca_file"] = wishes.ca_file
    if wishes.client_chain:
        values |= {"certificate_file": wishes.client_chain, "key_file": wishes.client_key}
    about = "Mail for those who live on-premises; the name in the server's certificate is checked."
    if wishes.central:
        values["route_all_messages_via_on_premises"] = True
        about = "All mail goes by on-premises, in both directions; the name in the server's certificate is checked."
    return _table("outbound_connector", about, wishes, values)


def _store(wishes: Wishes) -> str:
    values = {"name": STORE, "kind": "lmtp", "servers": [wishes.mailboxes]}
    return _table("mailbox_store", "Where the mailboxes of this side lie.", wishes, values)


def _table(table: str, about: str, wishes: Wishes, values: Mapping[str, Any]) -> str:
    rows = {**values, "organisation": wishes.organisation, "comment": f"{MARK}."}
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in rows.items())
    return "\n".join([f"# {about}", f"[[{table}]]", *lines, ""])


# --- what is said ----------------------------------------------------------------------------------------------------


def _notes(before: Understood, wishes: Wishes, site: Site) -> Iterator[str]:
    mine = before.policy.organisations[wishes.organisation]
    yield f"DNS: {wishes.coexistence}. 3600 IN MX 10 {site.hostname}."
    if wishes.proof:
        yield f'DNS: {wishes.coexistence}. 3600 IN TXT "{wishes.proof}" (then `lockgate domain verify`)'
    yield f"on-premises: target addresses name@{wishes.coexistence}, sent to {site.hostname} with TLS and certificate"
    if not wishes.client_chain:
        yield (
            "on-premises cannot know us by a certificate yet: set certificate_file and key_file of the connector to it"
        )
    if not (wishes.mailboxes or site.keeps_mailboxes or mine.store is not None):
        yield "no mailboxes can live here yet: add a [[mailbox_store]], or [mailboxes] to the operator's file"
    yield "mailboxes: `lockgate mailbox move NAME here`, one by one or from a file"


def _staying(mine: list[Written[Any]]) -> Iterator[str]:
    """Of the rest, what belongs to a hybrid: it was there before, or came by other hands."""
    for written in mine:
        value = written.value
        name = getattr(value, "name", None) or getattr(value, "domain_name", "")
        signs = [
            key for key in ("coexistence", "cloud_services_mail_enabled", "route_all_messages_via_on_premises")
            if getattr(value, key, False)
        ]  # fmt: skip
        if signs and not _is_added(written):
            yield f"{written.table} '{name}' in {written.file} stays, with {', '.join(signs)}"
        elif written.table == "mailbox_store" and not _is_added(written):
            yield f"{written.table} '{name}' in {written.file} stays"
    yield "recipients stay as they are: move the mailboxes there first (`lockgate mailbox move NAME there`)"
