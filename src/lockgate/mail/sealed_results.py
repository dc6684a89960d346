"""What a sealer of an ARC chain says it found of the author: hostile text, so one sentence is looked for, exactly.

The value of ARC-Authentication-Results (RFC 8617 4.1.1, RFC 8601 2.2). Comments and quoted strings may hold whatever a
sender wrote, so nothing in them counts, and what contradicts itself says nothing.
"""

from __future__ import annotations

import re

from lockgate.mail.address import AddressError, parse_domain
from lockgate.mail.authentication_results import without_comments

_AROUND = re.compile(r" ?= ?")


def says_author_passed(results: str, domain: str) -> bool:
    """Whether these results say, once and without contradiction, that DMARC passed for this author domain (A-label)."""
    if not domain:
        return False
    found = [words for words in _parts(results) if re.fullmatch(r"dmarc(/1)?=.*", words[0])]
    if len(found) != 1 or found[0][0].partition("=")[2] != "pass":
        return False
    named = [word.partition("=")[2] for word in found[0][1:] if word.startswith("header.from=")]
    return len(named) == 1 and _as_domain(named[0]) == domain


def _as_domain(text: str) -> str:
    try:
        return parse_domain(text)
    except AddressError:
        return ""


def _parts(results: str) -> list[list[str]]:
    """The results as words, in lower case; [] for what cannot be read. Linear."""
    plain = without_comments(results)
    if plain is None:
        return []
    parts = [_AROUND.sub("=", " ".join(part.split())).casefold() for part in plain.split(";")]
    return [part.split(" ") for part in parts if part]
