"""MTA-STS as it is written: the TXT record that announces a policy, and the policy itself (RFC 8461 3.1, 3.2)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import msgspec

from lockgate.mail.address import AddressError, parse_domain
from lockgate.mail.sts import StsMode

VERSION = "STSv1"
LARGEST = 64 * 1024
"""Octets of a policy that are read; RFC 8461 3.3 proposes this bound."""

LONGEST_LIFE = 31_557_600
"""Seconds that a policy may hold at most (RFC 8461 3.2)."""

MOST_HOSTS = 500
"""Patterns of mail hosts in one policy; more than any domain has, and few enough to keep."""

LONGEST_KEPT = 4096
"""Characters of a policy that are kept for reports."""

_ID = re.compile(r"[A-Za-z0-9]{1,32}", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,10}", re.ASCII)
_BLANK = " \t"


class NotAnnounced(Exception):
    """The TXT records announce no policy; the message says why, as the rest of a sentence. `silent`: none tries to."""

    def __init__(self, why: str, *, silent: bool = False) -> None:
        super().__init__(why)
        self.silent = silent


class PolicyBroken(Exception):
    """The text is no policy; the message says why, as the rest of a sentence."""


class Demands(msgspec.Struct, frozen=True):
    """What a policy says. `mx` as in StsPolicy; `max_age` in seconds; `lines` as published, cut at LONGEST_KEPT."""

    mode: StsMode
    mx: tuple[str, ...]
    max_age: int
    lines: tuple[str, ...] = ()


def announced(records: Iterable[str]) -> str:
    """The id in the TXT records of _mta-sts.DOMAIN (RFC 8461 3.1). Raises NotAnnounced.

    Records that do not begin with "v=STSv1;" are other people's and left out; of the others there must be exactly one.
    """
    ours = [record for record in records if _is_record(record)]
    if not ours:
        raise NotAnnounced(f"there is no TXT record that begins with v={VERSION};", silent=True)
    if len(ours) > 1:
        raise NotAnnounced(f"{len(ours)} TXT records begin with v={VERSION}; and only one may")
    found = ""
    for field in ours[0].split(";")[1:]:
        key, equals, value = field.strip(_BLANK).partition("=")
        if not equals and not key:
            continue
        if not equals or not _KEY.fullmatch(key.rstrip(_BLANK)):
            raise NotAnnounced("the TXT record is not a list of key=value; pairs")
        if key.rstrip(_BLANK) == "id" and not found:
            found = value.strip(_BLANK)
            if not _ID.fullmatch(found):
                raise NotAnnounced("the id of the TXT record is not 1 to 32 letters and digits")
    if not found:
        raise NotAnnounced("the TXT record has no id")
    return found


def _is_record(text: str) -> bool:
    head, semicolon, _ = text.partition(";")
    return bool(semicolon) and head.rstrip(_BLANK) == f"v={VERSION}"


def read_policy(octets: bytes) -> Demands:
    """What a policy says (RFC 8461 3.2). Raises PolicyBroken.

    Lines end with CRLF or LF. Unknown keys are passed over; of keys that may stand once, the first one counts.
    """
    if len(octets) > LARGEST:
        raise PolicyBroken(f"it has more than {LARGEST} octets")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyBroken("it is not UTF-8") from None
    fields, hosts = _fields(text)
    if fields.get("version") != VERSION:
        raise PolicyBroken(f"its version is not {VERSION}")
    try:
        mode = StsMode(fields.get("mode", ""))
    except ValueError:
        raise PolicyBroken("its mode is not one of enforce, testing, none") from None
    age = fields.get("max_age", "")
    if not _SECONDS.fullmatch(age) or int(age) > LONGEST_LIFE:
        raise PolicyBroken(f"its max_age is not a number of seconds from 0 to {LONGEST_LIFE}")
    if not hosts and mode is not StsMode.NONE:
        raise PolicyBroken("it names no mx")
    if len(hosts) > MOST_HOSTS:
        raise PolicyBroken(f"it names more than {MOST_HOSTS} mx")
    return Demands(mode, tuple(dict.fromkeys([_host(host) for host in hosts])), int(age), _kept(text))


def _fields(text: str) -> tuple[dict[str, str], list[str]]:
    """The first value of each key, and all of mx."""
    fields: dict[str, str] = {}
    hosts: list[str] = []
    for line in text.split("\n"):
        plain = line.removesuffix("\r")
        if not plain.strip(_BLANK):
            continue
        key, colon, value = plain.partition(":")
        key, value = key.rstrip(_BLANK), value.strip(_BLANK)
        if not colon or not _KEY.fullmatch(key):
            raise PolicyBroken("one of its lines is not key: value")
        if any(ord(character) < 32 or ord(character) == 127 for character in value):
            raise PolicyBroken("one of its values has control characters")
        if key == "mx":
            hosts.append(value)
        else:
            fields.setdefault(key, value)
    return fields, hosts


def _host(text: str) -> str:
    """A pattern for mail hosts, A-label, lower case. Raises PolicyBroken."""
    wildcard = text.startswith("*.")
    try:
        found = parse_domain(text[2:] if wildcard else text)
    except AddressError:
        found = ""
    if not found or "*" in found or found.startswith("[") or found.rpartition(".")[2].isdigit():
        shown = "".join(character if character.isprintable() else "?" for character in text[:80])
        raise PolicyBroken(f"its mx '{shown}' is neither a host name nor *. and a domain")
    return f"*.{found}" if wildcard else found


def _kept(text: str) -> tuple[str, ...]:
    lines = [line.removesuffix("\r").strip(_BLANK) for line in text[:LONGEST_KEPT].split("\n")]
    if len(text) > LONGEST_KEPT:
        lines.pop()  # cut in the midst
    return tuple([line for line in lines if line])


def written_policy(mode: StsMode, mx: Iterable[str], max_age: int) -> str:
    """The text of a policy, as it is served."""
    lines = [f"version: {VERSION}", f"mode: {mode.value}", *[f"mx: {host}" for host in mx], f"max_age: {max_age}"]
    return "".join(f"{line}\r\n" for line in lines)


def record_for(policy: str) -> str:
    """The TXT record that announces this text. The id follows from the content: another text, another id."""
    return f"v={VERSION}; id={hashlib.sha256(policy.encode()).hexdigest()[:20]};"
