"""What stands in the cells of a recipient file: addresses, lists of addresses, yes and no."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lockgate.mail.address import Address, AddressError, parse_address

Reasons = list[tuple[str, str]]
"""What is wrong, as (column, message)."""

_MOST_TOLD = 20
"""Wrong addresses of one cell that are told."""

_ENTRY = re.compile(r'(?:"(?:\\.|[^"\\]){0,64}"|[^\s;])+')
_TRUE = frozenset({"true", "yes", "1", "$true"})
_FALSE = frozenset({"false", "no", "0", "$false"})


def address_in(text: str, column: str, wrong: Reasons) -> Address | None:
    """The address; None, and a reason more, if it is none. Exchange's `SMTP:` and `smtp:` before it are taken away."""
    plain = text.strip()
    if plain[:5].lower() == "smtp:":
        plain = plain[5:]
    try:
        return parse_address(plain, utf8=True)
    except AddressError as trouble:
        said = f"'{plain[:80]}' is no address: {trouble}" if plain else "the address is missing"
        wrong.append((column, f"{said}; write for example ann@contoso.com"))
        return None


def addresses_in(value: str | Sequence[str], column: str, most: int, wrong: Reasons) -> tuple[Address, ...]:
    """The addresses of a list, each once; as text they are separated by blanks or semicolons."""
    listed = split(value) if isinstance(value, str) else value
    if len(listed) > most:
        wrong.append((column, f"there are {len(listed)}; at most {most} are kept"))
        return ()
    if len(listed) == 1:
        only = address_in(listed[0], column, wrong)
        return (only,) if only is not None else ()
    found: dict[str, Address] = {}
    told = len(wrong)
    for text in listed:
        address = address_in(text, column, wrong)
        if address is not None:
            found.setdefault(address.key, address)
        elif len(wrong) - told >= _MOST_TOLD:
            break
    return tuple(found.values())


def split(text: str) -> list[str]:
    """The entries of a list, separated by blanks or semicolons; within quotes neither separates."""
    return _ENTRY.findall(text) if '"' in text else text.replace(";", " ").split()


def truth_in(text: str, column: str, wrong: Reasons) -> bool:
    """Yes or no; no, and a reason more, if it is neither."""
    word = text.strip().lower()
    if word not in _TRUE and word not in _FALSE:
        wrong.append((column, f"'{text[:40]}' is neither true nor false"))
    return word in _TRUE
