"""What the trace can be searched by, and how each filter reads in SQL."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lockgate.mail.address import ip_text, kept_spelling
from lockgate.mail.events import Status
from lockgate.mail.redaction import Redactor

FILTERS = (
    "sender", "recipient", "sender_domain", "recipient_domain", "id", "message_id", "ip", "from_ip", "to_ip",
    "connector", "inbound_connector", "outbound_connector", "rule", "status", "revision", "pool", "subject",
    "organisation", "since", "until",
)  # fmt: skip

_IPS = ("ip", "from_ip", "to_ip")

Clause = tuple[str, list[Any]]
_NOTHING: Clause = ("0", [])


class UnknownFilter(ValueError):
    """A filter that a trace search does not have; the message names those it has."""


def fingerprint(text: str) -> int:
    """A 63-bit number for an index on text that may be long or personal."""
    return int.from_bytes(hashlib.blake2b(text.casefold().encode(), digest_size=8).digest(), "big") >> 1


class Wanted(msgspec.Struct, frozen=True):
    """A checked search: times as numbers, mail addresses also as they look masked, IP addresses as they are kept."""

    filters: dict[str, str]
    since: float
    until: float
    addresses: dict[str, tuple[str, ...]]

    @property
    def refusals(self) -> bool:
        """Whether refusals can match."""
        return self.filters.get("status", Status.REFUSED).casefold() == Status.REFUSED.casefold() and not (
            {"subject", "to_ip", "outbound_connector", "pool", "message_id"} & set(self.filters)
        )

    @property
    def messages(self) -> bool:
        """Whether accepted messages can match."""
        return self.filters.get("status", "").casefold() != Status.REFUSED.casefold()

    @property
    def by_message(self) -> bool:
        """Whether an index of the message table narrows the search best."""
        return "recipient" not in self.filters and bool(
            {"sender", "id", "message_id", "from_ip"} & set(self.filters)
        )

    def spellings(self) -> list[Wanted]:
        """One search for each spelling of the address that an index leads by, so that each can go along its index."""
        leading = "recipient" if "recipient" in self.filters else "sender"
        texts = self.addresses.get(leading, ())
        if len(texts) < 2:
            return [self]
        return [msgspec.structs.replace(self, addresses={**self.addresses, leading: (text,)}) for text in texts]


def wanted(filters: Mapping[str, str], masks: Sequence[Redactor] = ()) -> Wanted:
    """Check the filters; `masks` are the redactors under which addresses may be kept.

    Raises UnknownFilter for a misspelt filter, or a time or revision that is none.
    """
    if unknown := set(filters) - set(FILTERS):
        raise UnknownFilter(f"the trace cannot be searched by {', '.join(sorted(unknown))}; by {', '.join(FILTERS)}")
    times = {}
    for name, otherwise in (("since", 0.0), ("until", float("inf"))):
        try:
            times[name] = float(filters[name]) if name in filters else otherwise
        except ValueError:
            raise UnknownFilter(f"{name} is a number of seconds since 1970") from None
    if not filters.get("revision", "0").isdigit():
        raise UnknownFilter("a revision is a number")
    addresses = {}
    for name in {"sender", "recipient", "id", "message_id"} & set(filters):
        of_person = name in ("sender", "recipient")
        bare = kept_spelling(filters[name]) if of_person else filters[name].strip("<>")
        hide = Redactor.address if of_person else Redactor.message_id
        addresses[name] = tuple(dict.fromkeys((bare, *(hide(mask, bare) for mask in masks))))
    kept = {name: ip_text(value) if name in _IPS else value for name, value in filters.items()}
    return Wanted(kept, times["since"], times["until"], addresses)


def message_clauses(search: Wanted, *, indexed: bool) -> Clause:
    """The WHERE clause over message m and trace t; `indexed`: a day's file, whose key columns narrow it down."""
    where, values = ["1"], list[Any]()
    for name in search.filters:
        clause, given = _of_message(name, search, indexed=indexed)
        where.append(clause)
        values += given
    return " AND ".join(where), values


def _of_message(name: str, search: Wanted, *, indexed: bool) -> Clause:
    value = search.filters[name]
    match name:
        case "sender":
            return _address("m.sender", "m.sender_key" if indexed else "", search.addresses[name])
        case "recipient":
            return _address("t.recipient", "t.recipient_key" if indexed else "", search.addresses[name])
        case "sender_domain" | "recipient_domain":
            return _domain("m.sender" if name == "sender_domain" else "t.recipient", value)
        case "id" | "message_id":
            return _by_id(name, search, indexed=indexed)
        case "ip":
            return "(m.from_ip = ? OR t.to_ip = ?)", [value, value]
        case "connector":
            return "(t.inbound = ? COLLATE NOCASE OR t.outbound = ? COLLATE NOCASE)", [value, value]
        case "rule":
            return "instr(char(10) || t.rules || char(10), char(10) || ? || char(10)) > 0", [value]
        case "subject":
            return "instr(lockgate_fold(m.subject), ?) > 0", [value.casefold()]
        case "revision":
            return "m.revision = ?", [int(value)]
        case "since":
            return "m.received >= ?", [search.since]
        case "until":
            return "m.received < ?", [search.until]
        case _:
            columns = {"from_ip": "m.from_ip", "to_ip": "t.to_ip", "inbound_connector": "t.inbound COLLATE NOCASE",
                       "outbound_connector": "t.outbound COLLATE NOCASE", "status": "t.status COLLATE NOCASE",
                       "organisation": "t.organisation COLLATE NOCASE", "pool": "t.pool"}  # fmt: skip
            return f"{columns[name]} = ?", [value]


def _same(column: str, text: str) -> Clause:
    """Equal but for case; SQLite folds ASCII by itself, which is much quicker than asking us for every row."""
    if text.isascii():
        return f"{column} = ? COLLATE NOCASE", [text]
    return f"lockgate_fold({column}) = ?", [text.casefold()]


def _address(column: str, key: str, texts: tuple[str, ...]) -> Clause:
    same = [_same(column, text) for text in texts]
    clause = "(" + " OR ".join(part for part, _ in same) + ")"
    values = [value for _, given in same for value in given]
    if not key:
        return clause, values
    keys = [fingerprint(text) for text in texts]
    return f"({key} IN ({','.join('?' * len(keys))}) AND {clause})", [*keys, *values]


def _domain(column: str, domain: str) -> Clause:
    tail = "@" + domain.strip().lstrip("@").rstrip(".")
    return f"substr({column}, ?) = ? COLLATE NOCASE", [-len(tail), tail]


def _by_id(name: str, search: Wanted, *, indexed: bool) -> Clause:
    """The id in our replies, the connection's id, or the Message-ID; `message_id` means the last only."""
    texts = search.addresses[name]
    marks = ",".join("?" * len(texts))
    ours = f"trim(m.message_id,'<>') IN ({marks})"
    values: list[Any] = [*texts]
    if indexed:
        keys = [fingerprint(text) for text in texts]
        ours = f"(m.message_id_key IN ({marks}) AND {ours})"
        values = [*keys, *texts]
    if name == "message_id":
        return ours, values
    value = search.filters[name]
    return f"(m.id = ? OR m.connection = ? OR {ours})", [value, value, *values]


def refusal_clauses(search: Wanted) -> Clause:
    """The WHERE clause over refusal rows."""
    where, values = ["1"], list[Any]()
    for name, value in search.filters.items():
        clause, given = _of_refusal(name, value, search)
        where.append(clause)
        values += given
    return " AND ".join(where), values


def _of_refusal(name: str, value: str, search: Wanted) -> Clause:
    match name:
        case "sender" | "recipient":
            return _address(name, "", search.addresses[name])
        case "sender_domain" | "recipient_domain":
            return _domain(name.removesuffix("_domain"), value)
        case "id" | "organisation":
            return f"{name} = ? COLLATE NOCASE", [value]
        case "ip" | "from_ip":
            return "peer = ?", [value]
        case "connector" | "inbound_connector":
            return "connector = ? COLLATE NOCASE", [value]
        case "rule":
            return "instr(reason, ?) = 1", [f"rule {value}:"]
        case "revision":
            return "revision = ?", [int(value)]
        case "since":
            return "at >= ?", [search.since]
        case "until":
            return "at < ?", [search.until]
        case "status":
            return "1", []
        case _:
            return _NOTHING
