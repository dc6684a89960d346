"""DMARC records and what follows from them (RFC 9989): read, organisational domain, alignment, policy. Pure."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping

import msgspec

MOST_QUERIES = 8
"""Names of one tree walk that are asked (RFC 9989 4.10)."""


class Wish(enum.StrEnum):
    """What a domain wants done with mail that fails, weakest first."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class DmarcRecord(msgspec.Struct, frozen=True):
    """One record. `subdomains` and `absent` are sp= and np= (None: not given), `public` psd= (y, n or u)."""

    policy: Wish
    subdomains: Wish | None = None
    absent: Wish | None = None
    strict_dkim: bool = False
    strict_spf: bool = False
    public: str = "u"
    testing: bool = False
    aggregate: tuple[str, ...] = ()
    failure: tuple[str, ...] = ()
    options: str = "0"


def is_dmarc(text: str) -> bool:
    """Whether a TXT record is meant as a DMARC record: v=DMARC1 comes first, to the letter (RFC 9989 4.7)."""
    name, sign, value = text.partition(";")[0].partition("=")
    return bool(sign) and name.strip() == "v" and value.strip() == "DMARC1"


@functools.lru_cache(maxsize=4096)
def read_record(text: str) -> DmarcRecord | None:
    """The record of a text, None if it is none. What is wrong in it counts as its default (RFC 9989 4.7)."""
    if not is_dmarc(text):
        return None
    tags: dict[str, str] = {}
    for part in text.split(";")[1:64]:
        name, sign, value = part.partition("=")
        if sign:
            tags.setdefault(name.strip().lower(), value.strip())
    return DmarcRecord(
        policy=_wish(tags.get("p")) or Wish.NONE,
        subdomains=_wish(tags.get("sp")),
        absent=_wish(tags.get("np")),
        strict_dkim=tags.get("adkim", "r").lower() == "s",
        strict_spf=tags.get("aspf", "r").lower() == "s",
        public=tags.get("psd", "u").lower() if tags.get("psd", "u").lower() in ("y", "n") else "u",
        testing=tags.get("t", "n").lower() == "y",
        aggregate=_addresses(tags.get("rua", "")),
        failure=_addresses(tags.get("ruf", "")),
        options=tags.get("fo", "0").lower()[:20],
    )


def _wish(text: str | None) -> Wish | None:
    try:
        return Wish((text or "").lower())
    except ValueError:
        return None


def _addresses(text: str) -> tuple[str, ...]:
    """The mailto: addresses; the old size suffix is ignored (RFC 9989 4.6)."""
    found = []
    for part in text.split(",")[:10]:
        uri = part.strip().partition("!")[0]
        if uri[:7].lower() == "mailto:" and "@" in uri and uri.isascii() and uri.isprintable():
            found.append(uri[7:].partition("?")[0])
    return tuple(found)


def walk(domain: str) -> tuple[str, ...]:
    """The domains whose records are asked for, from the domain itself up to the top label (RFC 9989 4.10)."""
    labels = domain.split(".")
    rest = labels[1:] if len(labels) < MOST_QUERIES else labels[-(MOST_QUERIES - 1) :]
    return (domain, *[".".join(rest[place:]) for place in range(len(rest))])


def organisational_domain(domain: str, records: Mapping[str, DmarcRecord]) -> str:
    """The organisational domain, from the records that the walk found (RFC 9989 4.10.2)."""
    places = [place for place in walk(domain) if place in records]
    for place in places:
        if records[place].public == "n":
            return place
        if records[place].public == "y" and place != domain:
            return ".".join(domain.split(".")[-(place.count(".") + 2) :])
    return places[-1] if places else domain


def policy_domain(domain: str, records: Mapping[str, DmarcRecord]) -> str:
    """Whose record counts: the domain's own, the organisation's, or that of the public suffix above ("": nobody's)."""
    if domain in records:
        return domain
    organisation = organisational_domain(domain, records)
    if organisation in records:
        return organisation
    return next((place for place in walk(domain) if place in records and records[place].public == "y"), "")


def wish_of(record: DmarcRecord, *, own: bool, exists: bool) -> Wish:
    """What the record wants for a domain: its own one, or one below it that exists or does not (RFC 9989 4.7)."""
    if own:
        return record.policy
    below = record.subdomains or record.policy
    return below if exists else record.absent or below


def on_trial(wish: Wish) -> Wish:
    """What is done where the record is on trial (t=y): one step less than it asks for (RFC 9989 4.7)."""
    return Wish.QUARANTINE if wish is Wish.REJECT else Wish.NONE
