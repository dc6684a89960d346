"""Questions and answers of DNS as octets (RFC 1035 4, 6840, 6891, 8914).

Names and records are read by the library. The frame around them is walked here: to read whole messages costs more than
all else about a look-up, and most of a message is of no interest.
"""

from __future__ import annotations

import struct

import dns.edns
import dns.name
import dns.rcode
import dns.rdata
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import msgspec

from lockgate.seams import MxHost

KINDS = {"A": 1, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "TLSA": 52}

MOST_RECORDS = 1000
"""Records in one answer; one with more is not read at all."""

KEPT_RECORDS = 256
"""Addresses, exchangers and names of one answer that are looked at."""

NOERROR, FORMERR, SERVFAIL, NXDOMAIN = 0, 1, 2, 3
TOO_LARGE = -1
"""Our own code for an answer that is not read."""

_IN, _OPT = 1, 41
_PAYLOAD = 1232
"""Octets of a datagram that pass everywhere without being cut into pieces."""

_QR, _TC, _RD, _AD, _CD = 0x8000, 0x0200, 0x0100, 0x0020, 0x0010
_OPCODE = 0x7800
_HEAD = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_EDNS = struct.pack("!BHHIH", 0, _OPT, _PAYLOAD, 0, 0)
_FIRST_NAME = b"\xc0\x0c"
"""A pointer to the name of the question, as nearly all answers begin with it."""

_VALIDATION = frozenset((1, 2, 5, 6, 7, 8, 9, 10, 11, 12))
"""Extended errors that say: it was answered, and the answer is not genuine (RFC 8914 4)."""

Values = tuple[str, ...] | tuple[MxHost, ...]


class Question(msgspec.Struct, frozen=True):
    """One question. `name` is in lower case without trailing dot, `octets` are the section as it is sent."""

    name: str
    kind: str
    octets: bytes

    def __str__(self) -> str:
        return f"{self.name} {self.kind}"


class Response(msgspec.Struct, frozen=True):
    """What one server answered to one question.

    `sets` maps (name, number of the type) to TTL and values. `authentic` is the AD bit, `negative` how long "there is
    none" holds by its SOA (None without one). `error` is what a server adds to a failure in words, `forged` that it
    found signatures wrong.
    """

    rcode: int
    truncated: bool = False
    authentic: bool = False
    sets: dict[tuple[str, int], tuple[float, Values]] = {}
    negative: float | None = None
    error: str = ""
    forged: bool = False


class _Odd(Exception):
    """The octets are no answer."""


def question(name: str, kind: str) -> Question | None:
    """The question for a name, None if DNS cannot hold such a name. The text has no escapes: a backslash is itself."""
    name = name.lower().removesuffix(".")
    if not name.isascii() or len(name) > 253:
        return None
    if not name:
        return Question(".", kind, b"\0" + struct.pack("!HH", KINDS[kind], _IN))
    parts = [label.encode("ascii") for label in name.split(".")]
    if not all(0 < len(part) < 64 for part in parts):
        return None
    octets = b"".join([bytes((len(part),)) + part for part in parts])
    return Question(name, kind, octets + b"\0" + struct.pack("!HH", KINDS[kind], _IN))


def packed(asked: Question, number: int, *, edns: bool = True, unchecked: bool = False) -> bytes:
    """The query. AD asks to be told whether the answer was validated; `unchecked` for one that was not (CD)."""
    flags = _RD | _AD | (_CD if unchecked else 0)
    return _HEAD.pack(number, flags, 1, 0, 0, int(edns)) + asked.octets + (_EDNS if edns else b"")


def read(data: bytes, asked: Question, number: int) -> Response | None:
    """The answer to this very question with this number, None for anything else (RFC 5452 9.1). Never raises."""
    if len(data) < 12:
        return None
    found, flags, questions, answers, authority, additional = _HEAD.unpack_from(data)
    if found != number or not flags & _QR or flags & _OPCODE:
        return None
    rcode = flags & 0xF
    end = 12 + len(asked.octets)
    if questions != 1 or data[12:end].lower() != asked.octets.lower():
        # Servers that do not know EDNS may answer "what?" without repeating the question.
        return Response(rcode) if rcode == FORMERR and questions == 0 else None
    try:
        if answers > MOST_RECORDS:
            return Response(TOO_LARGE, error=f"{answers} records are more than anybody needs")
        walk = _Walk(data, end, asked.name)
        if not flags & _TC:
            walk.answers(answers)
        negative, error, forged = None, "", False
        if rcode or not walk.sets or (asked.name, KINDS[asked.kind]) not in walk.sets:
            negative = walk.authority(min(authority, MOST_RECORDS))
            rcode, error, forged = walk.options(min(additional, MOST_RECORDS), rcode)
    except Exception:
        # Whatever a parser does with hostile octets, they are no answer. A cut one is read as far as it goes.
        return Response(rcode, truncated=True) if flags & _TC else None
    sets = {key: (ttl, _ordered(key[1], values)) for key, (ttl, values) in walk.sets.items()}
    return Response(rcode, bool(flags & _TC), bool(flags & _AD), sets, negative, error, forged)


class _Walk:
    """Goes through a message record by record."""

    def __init__(self, data: bytes, place: int, name: str) -> None:
        self._data = data
        self._place = place
        self._name = name
        self.sets: dict[tuple[str, int], tuple[float, list[str | MxHost]]] = {}

    def answers(self, count: int) -> None:
        """Read the answers into `sets`. Raises whatever the octets make the library raise."""
        for _ in range(count):
            name, kind, rdclass, ttl, length = self._record()
            if rdclass == _IN:
                value = self._value(kind, length)
                if value is not None:
                    before, values = self.sets.setdefault((name, kind), (ttl, []))
                    values.append(value)
                    if ttl < before:
                        self.sets[name, kind] = (ttl, values)
            self._place += length

    def authority(self, count: int) -> float | None:
        """How long there is none, by the SOA (RFC 2308 5)."""
        found = None
        for _ in range(count):
            _, kind, rdclass, ttl, length = self._record()
            if kind == KINDS["SOA"] and rdclass == _IN and found is None:
                record = dns.rdata.from_wire(rdclass, kind, self._data, self._place, length)  # type: ignore[arg-type]
                assert isinstance(record, dns.rdtypes.ANY.SOA.SOA)
                found = min(ttl, float(record.minimum))
            self._place += length
        return found

    def options(self, count: int, rcode: int) -> tuple[int, str, bool]:
        """The whole rcode, and what the server says about a failure."""
        for _ in range(count):
            _, kind, _, _, length = self._record()
            if kind == _OPT:
                # The "TTL" of this record holds the upper bits of the code (RFC 6891 6.1.3).
                rcode |= self._data[self._place - 6] << 4
                return (rcode, *self._errors(length))
            self._place += length
        return rcode, "", False

    def _errors(self, length: int) -> tuple[str, bool]:
        texts, forged = [], False
        place, end = self._place, min(self._place + length, len(self._data))
        while place + 4 <= end:
            kind, size = struct.unpack_from("!HH", self._data, place)
            place += 4
            if kind == dns.edns.EDE and 2 <= size <= end - place:
                (code,) = struct.unpack_from("!H", self._data, place)
                forged = forged or code in _VALIDATION
                text = self._data[place + 2 : place + size].decode("utf-8", "replace")
                known = _edns_error(code)
                texts.append(f"{known}: {text}" if text else known)
            place += size
        plain = "; ".join(texts)[:200]
        return "".join(letter if letter.isprintable() else " " for letter in plain), forged

    def _record(self) -> tuple[str, int, int, float, int]:
        """Name, type, class, TTL and length of the record that begins here; the place is that of its data then."""
        data = self._data
        if data[self._place : self._place + 2] == _FIRST_NAME:
            name, size = self._name, 2
        else:
            parsed, size = dns.name.from_wire(data, self._place)
            name = parsed.to_text(omit_final_dot=True).lower()
        kind, rdclass, ttl, length = _RECORD.unpack_from(data, self._place + size)
        self._place += size + _RECORD.size
        if self._place + length > len(data):
            raise _Odd
        return name, kind, rdclass, 0.0 if ttl >> 31 else float(ttl), length  # RFC 2181 8

    def _value(self, kind: int, length: int) -> str | MxHost | None:
        if kind not in _WANTED:
            return None
        if kind == _TXT:  # most of what is asked; the library takes ten times as long for it
            return _strings(self._data[self._place : self._place + length])
        record = dns.rdata.from_wire(_IN, kind, self._data, self._place, length)  # type: ignore[arg-type]
        match record:
            case dns.rdtypes.ANY.MX.MX():
                return MxHost(record.preference, _name(record.exchange))
            case dns.rdtypes.ANY.CNAME.CNAME():
                return _name(record.target)
        text = record.to_text()
        return text.lower().rstrip(".") if kind == KINDS["PTR"] else text


_WANTED = frozenset(KINDS.values())
_TXT = KINDS["TXT"]


def _strings(octets: bytes) -> str:
    """The strings of a TXT record as one text (RFC 1035 3.3.14). Raises _Odd where they do not fill the record."""
    found: list[bytes] = []
    place, end = 0, len(octets)
    while place < end:
        after = place + 1 + octets[place]
        found.append(octets[place + 1 : after])
        place = after
    if place != end or not found:
        raise _Odd
    return b"".join(found).decode("latin-1")


def _name(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if len(name.labels) > 1 else ""


def _ordered(kind: int, values: list[str | MxHost]) -> Values:
    if kind == KINDS["MX"]:
        hosts = [value for value in values if isinstance(value, MxHost)]
        return tuple(sorted(hosts, key=lambda host: host.preference)[:KEPT_RECORDS])
    texts = [value for value in values if isinstance(value, str)]
    # Which of many texts is meant, only their reader can tell: none is left out.
    return tuple(texts if kind == KINDS["TXT"] else texts[:KEPT_RECORDS])


def _edns_error(code: int) -> str:
    try:
        return dns.edns.EDECode(code).name.lower().replace("_", " ")
    except ValueError:
        return f"error {code}"


def code_name(rcode: int) -> str:
    """The name of a code, as administrators know it."""
    if rcode == TOO_LARGE:
        return "too much"
    try:
        return dns.rcode.to_text(dns.rcode.Rcode(rcode))
    except ValueError:
        return f"RCODE{rcode}"
