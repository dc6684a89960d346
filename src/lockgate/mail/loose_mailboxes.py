"""Every address that any reader might find in a field such as From, for rules that must not miss one.

What is proven is another matter: that rests on the strict reader (mailboxes.py), which says no where readers differ.
Here they are taken together. A field of which the strict one makes no trouble says what it says, and nothing else; in
any other whatever stands on both sides of an @ is an address, but not inside a closed comment or quoted string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from lockgate.mail.address import AddressError, one_spelling, parse_domain
from lockgate.mail.headers import decode_words
from lockgate.mail.mailboxes import MOST_MAILBOXES, Mailbox, read_mailboxes

_MOST_SIGNS = 10 * MOST_MAILBOXES
"""So many times an @ is looked at in one field."""

_PIECE = re.compile(r'[^()<>\[\]:;@\\,"\s\x00-\x1f\x7f]+|[()<>\[\]:;@\\,"]')
_NO_DOMAIN = re.compile(r"[^\w.-]")
_CLOSES = {"(": ")", '"': '"', "[": "]"}
_TURNS = {sign: re.compile(rf"\\.|[{re.escape(sign + close)}]", re.S) for sign, close in _CLOSES.items()}
_ASTRAY = ".'`"
"""Signs around a local part that belong to the text around it."""

_BREAK = ""
"""Between two words that do not belong together."""


def all_mailboxes(value: str) -> tuple[Mailbox, ...]:
    """The addresses of an unfolded field value, those first that are read strictly; at most MOST_MAILBOXES, each once.

    Never raises; linear in the length.
    """
    read = read_mailboxes(value)
    if not read.trouble:
        return read.found
    texts = (value, decode_words(value)) if "=?" in value else (value,)
    loose = (mailbox for text in texts if "@" in text for mailbox in _loosely(text))
    found = {mailbox.address: mailbox for mailbox in read.found}
    for mailbox in islice(loose, MOST_MAILBOXES):
        found.setdefault(mailbox.address, mailbox)
    return tuple(found.values())[:MOST_MAILBOXES]


def _loosely(text: str) -> Iterator[Mailbox]:
    """Around every @ the nearest word on both sides, and what dots join to it across blanks and comments."""
    words = _words(text)
    signs = (place for place, word in enumerate(words) if word == "@")
    for place in islice(signs, _MOST_SIGNS):
        for local in _locals(words, place - 1):
            for domain in _domains(words, place + 1):
                yield Mailbox("", local, domain)


def _words(text: str) -> list[str]:
    """Words, quoted strings, bracketed literals and @ in order, and a break for every other sign; comments left out.

    What is never closed hides nothing: its sign is a break like others.
    """
    words: list[str] = []
    never: set[str] = set()
    place = 0
    while match := _PIECE.search(text, place):
        piece, place = match[0], match.end()
        if piece in _CLOSES and piece not in never:
            end = _end_of(text, match.start())
            if end < 0:
                never.add(piece)
            else:
                place = end
                if piece != "(":
                    words.append(text[match.start() : end])
                continue
        words.append(_BREAK if piece in '()<>[]:;\\,"' else piece)
    return words


def _end_of(text: str, start: int) -> int:
    """Behind the sign that closes the one at this place, -1 if none does; only comments stand within each other."""
    opens = text[start]
    closes, depth = _CLOSES[opens], 1
    for match in _TURNS[opens].finditer(text, start + 1):
        if match[0] == closes:
            depth -= 1
            if not depth:
                return match.end()
        elif match[0] == opens == "(":
            depth += 1
    return -1


def _locals(words: Sequence[str], place: int) -> Iterator[str]:
    if place < 0 or words[place] in (_BREAK, "@") or words[place].startswith("["):
        return
    nearest = words[place]
    joined = [nearest]
    while place > 0 and words[place - 1] not in (_BREAK, "@") and _dotted(words[place - 1], words[place]):
        place -= 1
        joined.append(words[place])
    first, whole = one_spelling(nearest), "".join([one_spelling(word) for word in reversed(joined)])
    plain = first if nearest.startswith('"') else first.strip(_ASTRAY)
    yield from dict.fromkeys(local for local in (plain, whole.strip(_ASTRAY)) if local)


def _domains(words: Sequence[str], place: int) -> Iterator[str]:
    if place >= len(words) or words[place] in (_BREAK, "@") or words[place].startswith('"'):
        return
    nearest = words[place]
    joined = [nearest]
    while place + 1 < len(words) and words[place + 1] not in (_BREAK, "@") and _dotted(words[place], words[place + 1]):
        place += 1
        joined.append(words[place])
    for text in dict.fromkeys((nearest, "".join(joined))):
        plain = text if text.startswith("[") else _NO_DOMAIN.split(text, maxsplit=1)[0].strip(".-")
        if plain:
            yield _comparable(plain)


def _dotted(left: str, right: str) -> bool:
    return left.endswith(".") or right.startswith(".")


def _comparable(domain: str) -> str:
    """As rules compare it; what is no domain is left as it is written, because mail of it arrives all the same."""
    try:
        return parse_domain(domain)
    except AddressError:
        return domain.casefold()
