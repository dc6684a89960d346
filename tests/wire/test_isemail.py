"""Published addresses: what RFC 5321 allows is read, what it does not allow is refused."""

from __future__ import annotations

import json

from fixtures_folder import fixtures_folder
from lockgate.mail.address import AddressError, parse_address

VALID = {"ISEMAIL_VALID_CATEGORY", "ISEMAIL_DNSWARN", "ISEMAIL_RFC5321"}
"""Categories of the suite that RFC 5321 4.1.2 allows on the wire (DNS is not asked)."""

EXPLAINED: dict[int, str] = {
    71: "'::' for a single group: not in the grammar of RFC 5321 4.1.3, but an address by RFC 4291 2.2",
}


def readable(text: str) -> bool:
    try:
        parse_address(text)
    except AddressError:
        return False
    return True


def test_addresses_are_read_as_rfc_5321_says():
    cases = json.loads((fixtures_folder("address") / "isemail-dev.json").read_text())
    wrong = []
    for case in cases:
        # The suite shows control characters as their symbols, U+2400 and following.
        text = "".join(chr(ord(c) - 0x2400) if 0x2400 <= ord(c) <= 0x2420 else c for c in case["address"])
        if readable(text) != (case["category"] in VALID):
            wrong.append((case["id"], case["address"], case["diagnosis"]))
    assert len(cases) >= 70
    assert [miss for miss in wrong if miss[0] not in EXPLAINED] == []
