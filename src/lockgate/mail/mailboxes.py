"""The addresses of a header field such as From (RFC 5322 3.4, 4.4), read strictly and in one pass.

One reader for everybody: what DMARC checks, what rules match and what a person is shown is the same text. Where two
readers might disagree, `trouble` says so, and nobody may take the field for proven.
"""

from __future__ import annotations

import enum

import msgspec

from lockgate.mail.address import AddressError, one_spelling, parse_domain

_ATOM_ENDS = frozenset('()<>[]:;@\\,."\t ')
MOST_MAILBOXES = 1000
LONGEST = 64 * 1024
"""Characters of a field that is read."""


class Mailbox(msgspec.Struct, frozen=True):
    """One address: the name shown beside it ("" for none), the local part, and the domain as A-labels.

    The local part has its `one_spelling`, like that of an Address: both compare.
    """

    name: str
    local: str
    domain: str

    @property
    def address(self) -> str:
        """local@domain."""
        return f"{self.local}@{self.domain}"


class Mailboxes(msgspec.Struct, frozen=True):
    """The addresses in order, and what is odd about the field ("" for nothing)."""

    found: tuple[Mailbox, ...]
    trouble: str = ""


class _Kind(enum.Enum):
    ATOM = enum.auto()
    QUOTED = enum.auto()
    COMMENT = enum.auto()
    LITERAL = enum.auto()
    SIGN = enum.auto()


_Token = tuple[_Kind, str, bool]
"""Kind, text, and whether a blank stood before it."""


class _Odd(ValueError):
    """The field breaks the grammar in a way that readers take differently."""


def read_mailboxes(value: str) -> Mailboxes:
    """The addresses of an unfolded field value. Never raises; linear in the length."""
    if len(value) > LONGEST:
        return Mailboxes((), "it is too long to be read")
    try:
        tokens = _tokens(value)
    except _Odd as odd:
        return Mailboxes((), str(odd))
    found: list[Mailbox] = []
    trouble = ""
    for part in _parts(tokens):
        if isinstance(part, str):
            trouble = trouble or part
            continue
        if not [token for token in part if token[0] is not _Kind.COMMENT]:
            trouble = trouble or "there is an empty entry"
            continue
        try:
            found.append(_mailbox(part))
        except _Odd as odd:
            trouble = trouble or str(odd)
        if len(found) > MOST_MAILBOXES:
            return Mailboxes(tuple(found), "there are too many addresses")
    return Mailboxes(tuple(found), trouble or ("" if found else "there is no address"))


def _tokens(value: str) -> list[_Token]:
    tokens: list[_Token] = []
    place, blank = 0, False
    while place < len(value):
        letter = value[place]
        if letter in " \t":
            place, blank = place + 1, True
            continue
        if letter < " " or letter == "\x7f":
            raise _Odd("there is a control character in it")
        if letter == "(":
            end = _comment_end(value, place)
            kind = _Kind.COMMENT
        elif letter == '"':
            end = _closed(value, place + 1, '"')
            kind = _Kind.QUOTED
        elif letter == "[":
            end = _closed(value, place + 1, "]")
            kind = _Kind.LITERAL
        elif letter in _ATOM_ENDS:
            end, kind = place + 1, _Kind.SIGN
        else:
            end, kind = place + 1, _Kind.ATOM
            while end < len(value) and value[end] not in _ATOM_ENDS and value[end] >= " " and value[end] != "\x7f":
                end += 1
        tokens.append((kind, value[place:end], blank))
        place, blank = end, False
    return tokens


def _comment_end(value: str, place: int) -> int:
    depth = 0
    while place < len(value):
        letter = value[place]
        if letter == "\\":
            place += 1
        elif letter == "(":
            depth += 1
        elif letter == ")":
            depth -= 1
            if not depth:
                return place + 1
        place += 1
    raise _Odd("a comment is not closed")


def _closed(value: str, place: int, sign: str) -> int:
    while place < len(value):
        letter = value[place]
        if letter == "\\":
            place += 1
        elif letter == sign:
            return place + 1
        place += 1
    raise _Odd("a quoted string is not closed" if sign == '"' else "a bracket is not closed")


def _parts(tokens: list[_Token]) -> list[list[_Token] | str]:
    """The entries between commas, groups opened up; a text is something odd found on the way."""
    cutter = _Cutter()
    for token in tokens:
        cutter.take(token)
    return cutter.finish()


class _Cutter:
    """Cuts a field into its entries."""

    def __init__(self) -> None:
        self._parts: list[list[_Token] | str] = []
        self._part: list[_Token] = []
        self._angle = self._group = self._after_comma = False

    def take(self, token: _Token) -> None:
        """The next token."""
        sign = token[1] if token[0] is _Kind.SIGN else ""
        if sign in ("<", ">"):
            self._angle = sign == "<"
        self._after_comma = sign == ","
        if self._angle or sign not in (",", ":", ";"):
            self._part.append(token)
        elif sign == ",":
            self._parts.append(self._part)
            self._part = []
        elif sign == ":":
            self._parts.append("a group stands in a group" if self._group else "it names a group")
            self._group, self._part = True, []
        else:
            self._end_group()

    def _end_group(self) -> None:
        if self._part:
            self._parts.append(self._part)
        if not self._group:
            self._parts.append("a group ends that never began")
        self._group, self._part = False, []

    def finish(self) -> list[list[_Token] | str]:
        """All entries."""
        if self._angle:
            self._parts.append("an angle bracket is not closed")
        if self._group:
            self._parts.append("a group is not closed")
        if self._part or self._after_comma or not self._parts:
            self._parts.append(self._part)
        return self._parts


def _mailbox(part: list[_Token]) -> Mailbox:
    signs = [token[1] for token in part if token[0] is _Kind.SIGN]
    if "<" not in signs:
        if ">" in signs:
            raise _Odd("an angle bracket closes that was never opened")
        local, domain = _spec([token for token in part if token[0] is not _Kind.COMMENT])
        return Mailbox("", local, domain)
    if signs.count("<") != 1 or signs.count(">") != 1:
        raise _Odd("there are two addresses without a comma between")
    opened = next(place for place, token in enumerate(part) if token[:2] == (_Kind.SIGN, "<"))
    closes = next(place for place, token in enumerate(part) if token[:2] == (_Kind.SIGN, ">"))
    if [token for token in part[closes + 1 :] if token[0] is not _Kind.COMMENT]:
        raise _Odd("something follows the address")
    inside = part[opened + 1 : closes]
    if any(token[0] is _Kind.COMMENT for token in inside):
        raise _Odd("there is a comment inside the address")
    local, domain = _spec(inside)
    return Mailbox(_phrase(part[:opened]), local, domain)


def _phrase(tokens: list[_Token]) -> str:
    text = ""
    for kind, word, blank in tokens:
        if kind is _Kind.COMMENT:
            continue
        if kind is _Kind.SIGN and word != ".":
            raise _Odd(f"the name holds a '{word}' that is not quoted")
        if kind is _Kind.LITERAL:
            raise _Odd("the name holds a bracket that is not quoted")
        plain = _unquoted(word) if kind is _Kind.QUOTED else word
        text += (" " if blank and text else "") + plain
    return text.strip()


def _unquoted(word: str) -> str:
    text, place = "", 1
    while place < len(word) - 1:
        if word[place] == "\\":
            place += 1
        text += word[place]
        place += 1
    return text


def _spec(tokens: list[_Token]) -> tuple[str, str]:
    """Local part and domain of an addr-spec. Blanks and route prefixes are of no use to honest mail and refused."""
    if any(blank for _, _, blank in tokens[1:]):
        raise _Odd("there is a blank inside the address")
    at = [place for place, token in enumerate(tokens) if token[:2] == (_Kind.SIGN, "@")]
    if len(at) != 1:
        raise _Odd("the address has not one @")
    local, domain = tokens[: at[0]], tokens[at[0] + 1 :]
    if not local or not domain:
        raise _Odd("the address lacks a part")
    if [kind for kind, _, _ in local] != [_Kind.QUOTED]:
        _dotted(local)
    before = one_spelling("".join(word for _, word, _ in local))
    if [kind for kind, _, _ in domain] == [_Kind.LITERAL]:
        return before, domain[0][1]
    _dotted(domain)
    try:
        return before, parse_domain("".join(word for _, word, _ in domain))
    except AddressError as trouble:
        raise _Odd(str(trouble)) from None


def _dotted(tokens: list[_Token]) -> None:
    """Atoms with single dots between."""
    for place, (kind, word, _) in enumerate(tokens):
        wanted = _Kind.ATOM if place % 2 == 0 else _Kind.SIGN
        if kind is not wanted or (kind is _Kind.SIGN and word != "."):
            raise _Odd("the address holds a character where it may not")
    if len(tokens) % 2 == 0:
        raise _Odd("the address ends in a dot")
