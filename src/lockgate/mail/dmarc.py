"""DMARC records and what follows from them (RFC 9989): read, organisational domain, alignment, policy. Pure."""

from __future__ import annotations

import enum
import functools
import re
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
    """One record. `subdomains` and `absent` are sp= and np= (None: not given), `public` psd= (y, n or u).

    `aggregate` and `failure` are the addresses that want reports, `limits` the octets that each of `aggregate` takes
    (0: any number), from the size suffix that RFC 9989 has dropped and many records still have.
    """

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
    limits: tuple[int, ...] = ()


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
    wanted = _addresses(tags.get("rua", ""))
    return DmarcRecord(
        policy=_wish(tags.get("p")) or Wish.NONE,
        subdomains=_wish(tags.get("sp")),
        absent=_wish(tags.get("np")),
        strict_dkim=tags.get("adkim", "r").lower() == "s",
        strict_spf=tags.get("aspf", "r").lower() == "s",
        public=tags.get("psd", "u").lower() if tags.get("psd", "u").lower() in ("y", "n") else "u",
        testing=tags.get("t", "n").lower() == "y",
        aggregate=tuple(wanted),
        failure=tuple(_addresses(tags.get("ruf", ""))),
        options=tags.get("fo", "0").lower()[:20],
        limits=tuple(wanted.values()) if any(wanted.values()) else (),
    )


def published(record: DmarcRecord) -> str:
    """What a record asks for, without its addresses, as short tags; `read_published` reads it."""
    tags = {
        "p": record.policy,
        "sp": record.subdomains,
        "np": record.absent,
        "adkim": "s" if record.strict_dkim else "",
        "aspf": "s" if record.strict_spf else "",
        "t": "y" if record.testing else "",
        "fo": record.options if record.options != "0" else "",
    }
    return "; ".join([f"{name}={value}" for name, value in tags.items() if value])


def read_published(text: str) -> DmarcRecord:
    """The record that `published` wrote down, without its addresses."""
    return read_record(f"v=DMARC1; {text}") or DmarcRecord(Wish.NONE)


def _wish(text: str | None) -> Wish | None:
    try:
        return Wish((text or "").lower())
    except ValueError:
        return None


_SUFFIX = re.compile(r"(\d{1,12})([kmgt]?)", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def _addresses(text: str) -> dict[str, int]:
    """The mailto: addresses, and how many octets each takes (0: nothing said; RFC 7489 6.2, dropped by RFC 9989)."""
    found: dict[str, int] = {}
    for part in text.split(",")[:10]:
        uri, _, suffix = part.strip().partition("!")
        if uri[:7].lower() == "mailto:" and "@" in uri and uri.isascii() and uri.isprintable():
            size = _SUFFIX.fullmatch(suffix.strip())
            found.setdefault(uri[7:].partition("?")[0], int(size[1]) * _UNITS[size[2].lower()] if size else 0)
    return found


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
