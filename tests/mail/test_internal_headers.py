"""No stranger gets an internal header field through, however it is spelled, folded, repeated or encoded."""

from __future__ import annotations

import email
import email.policy
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.mail.headers import message_of, read_headers
from lockgate.mail.internal_headers import (
    CROSS_PREMISES,
    CROSS_TENANT,
    ORGANISATION,
    TRUE_SOURCE,
    TRUE_SOURCE_COMPUTED,
    is_internal,
    may_hold_any,
    promoted,
    seen_by_rules,
    with_fields,
    with_preserved,
    with_promoted,
    without_internal,
)

TRACE = b"Received: from a ([192.0.2.1])\r\n\tby mx; today\r\nX-Lockgate-Hop: house; id-1\r\n"
LETTER = b"From: a@d.test\r\nSubject: x\r\n\ty\r\n\r\nX-MS-Exchange-Organization-AuthAs: Internal in the body\r\n"
FAMILIES = (ORGANISATION, CROSS_PREMISES, CROSS_TENANT)

SPELLINGS = [
    b"X-MS-Exchange-Organization-AuthAs: Internal\r\n",
    b"x-ms-EXCHANGE-organization-authas:Internal\r\n",
    b"X-MS-Exchange-Organization-AuthAs : Internal\r\n",
    b"X-MS-Exchange-Organization-AuthAs\t: Internal\r\n",
    b"X-MS-Exchange-Organization-AuthAs:\r\n Internal\r\n",
    b"X-MS-Exchange-Organization-AuthAs\r\n : Internal\r\n",
    b"X-MS-Exchange-\r\n Organization-AuthAs: Internal\r\n",
    b"X-MS-Exchange-Organization-AuthAs\r\n",
    b"X-MS-Exchange-Organization-\0AuthAs: Internal\r\n",
    b"X-MS-Ex\0change-Organization-AuthAs: Internal\r\n",
    b"\0X-MS-Exchange-Organization-AuthAs: Internal\r\n",
    b"X_MS_Exchange_Organization_AuthAs: Internal\r\n",
    b"X-MS-Exchange-Organization-AuthAs\x0b: Internal\r\n",
    "X\u2011MS\u2011Exchange\u2011Organization\u2011AuthAs: Internal\r\n".encode(),
    "\uff38-\uff2d\uff33-Exchange-Organization-AuthAs: Internal\r\n".encode(),
    "X-MS-\u00c9xchange-Organization-AuthAs: Internal\r\n".encode(),
    b"\xff\xfeX-MS-Exchange-Organization-AuthAs: Internal\r\n",
    b"X-MS-Exchange-CrossPremises-AuthAs: Internal\r\n",
    b"X-MS-Exchange-CrossTenant-AuthAs: Internal\r\n",
    b"X-MS-Exchange-ExternalOriginalInternetSender: ip=[192.0.2.10]\r\n",
    b"X-MS-Exchange-SkipListedInternetSender: ip=[192.0.2.10]\r\n",
    b"X-MS-Exchange-Organization-AuthAs: Internal\r\nX-MS-Exchange-Organization-AuthAs: Internal\r\n",
    b"X-MS-Exchange-Organization-AuthAs: =?utf-8?q?Internal?=\r\n",
]
INNOCENT = [
    b"X-MS-Has-Attach: yes\r\n",
    b"X-MS-Exchange-Transport-EndToEndLatency: 00:00:01\r\n",
    b"X-Exchange-Organization: hello\r\n",
    b"Subject: X-MS-Exchange-Organization-AuthAs: Internal\r\n",
    b"Subject: hello\r\n X-MS-Exchange-Organization-AuthAs: Internal\r\n",
    b"Comments: \xff\xfe\r\n",
]


@pytest.mark.parametrize("field", SPELLINGS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_spelling_is_found_and_taken_out(field: bytes, place: int) -> None:
    first, second, rest = b"From: a@d.test\r\n", b"Subject: x\r\n\ty\r\n", LETTER.partition(b"\r\n\r\n")[2]
    plain = [first, second]
    forged = [*plain[:place], field, *plain[place:]]
    octets = b"".join(forged) + b"\r\n" + rest
    if place or field[:1] not in b" \t":
        assert without_internal(TRACE + octets) == TRACE + b"".join(plain) + b"\r\n" + rest
    assert message_of("id", octets, len(octets), "house").internal


@pytest.mark.parametrize("field", INNOCENT)
def test_others_stay_octet_by_octet(field: bytes) -> None:
    octets = TRACE + field + LETTER
    assert without_internal(octets) == octets


def test_a_first_line_that_begins_with_a_blank_does_not_hide_behind_our_mark() -> None:
    octets = TRACE + b" X-MS-Exchange-Organization-AuthAs: Internal\r\n" + LETTER
    assert without_internal(octets) == TRACE + LETTER


NAMES = st.sampled_from([*FAMILIES, TRUE_SOURCE, TRUE_SOURCE_COMPUTED])
NOISE = st.sampled_from(
    ["", "", "", "\0", " ", "\t", "_", "\u2010", "\u00ad", "\u200b", "\ufeff", "\u0301", "\x7f", "\r\n ", "."]
)
WIDE = {chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)}


@st.composite
def hostile_fields(draw: st.DrawFn) -> bytes:
    """An internal field, each of its letters as it is, in another case or full width, with noise in between."""
    text = draw(NAMES)
    text += draw(st.sampled_from(["AuthAs", "SCL", "Network-Message-Id", ""])) if text.endswith("-") else ""
    spelled = ""
    for letter in text:
        form = draw(st.sampled_from([str, str, str.lower, str.upper, lambda one: WIDE.get(one, one)]))
        spelled += form(letter) + draw(NOISE)
    between = draw(st.sampled_from([":", " :", "\t:", ":\r\n ", "\r\n :", ": \r\n\t"]))
    return f"{spelled.strip(' ')}{between} Internal\r\n".encode()


def readable_as(octets: bytes) -> list[str]:
    """Names that any of several readers makes of a header: ours, the standard library's, and one that joins all."""
    names = [name.decode("utf-8", "replace") for name, _ in read_headers(octets).fields]
    names += list(email.message_from_bytes(octets, policy=email.policy.compat32).keys())
    header = octets.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    names += [line.partition(":")[0] for line in header.replace("\r\n ", "").replace("\r\n\t", "").split("\r\n")]
    folded = [unicodedata.normalize("NFKD", name).casefold() for name in names]
    return ["".join(c for c in name if c.isascii() and c.isalnum()) for name in folded]


@settings(max_examples=400)
@given(st.lists(hostile_fields() | st.sampled_from(INNOCENT), min_size=1, max_size=6), st.booleans())
def test_no_spelling_gets_through(fields: list[bytes], first: bool) -> None:
    octets = (b"".join(fields) + LETTER) if first else (b"From: a@d.test\r\n" + b"".join(fields) + LETTER)
    kept = without_internal(TRACE + octets)
    starts = tuple(name.replace("-", "").lower() for name in (*FAMILIES, TRUE_SOURCE, TRUE_SOURCE_COMPUTED))
    assert not [name for name in readable_as(kept) if name.startswith(starts)]
    assert kept.endswith(LETTER) and kept.startswith(TRACE)
    assert without_internal(kept) == kept
    if kept != TRACE + octets:
        assert message_of("id", octets, len(octets), "house").internal


@given(st.binary(max_size=400))
def test_any_octets_keep_their_body(octets: bytes) -> None:
    content = octets + b"\r\n\r\nbody"
    for changed in (without_internal(content), with_promoted(content), with_preserved(content)):
        assert changed.endswith(b"\r\nbody")
    if not may_hold_any(content):
        assert without_internal(content) == with_promoted(content) == with_preserved(content) == content


# --- promotion and preservation -----------------------------------------------------------------------------------


def test_what_the_other_side_says_replaces_what_was_there() -> None:
    octets = (
        TRACE
        + b"X-MS-Exchange-Organization-SCL: 9\r\nx-ms-exchange-crosspremises-scl: -1\r\n"
        + b"X-MS-Exchange-CrossPremises-Rules: one\r\n\ttwo\r\nX-MS-Exchange-CrossTenant-Id: x\r\n"
        + LETTER
    )
    expected = b"X-MS-Exchange-Organization-scl: -1\r\nX-MS-Exchange-Organization-Rules: one\r\n\ttwo\r\n"
    assert with_promoted(octets) == expected + TRACE + LETTER


def test_what_contradicts_itself_is_not_promoted() -> None:
    twice = b"X-MS-Exchange-CrossPremises-AuthAs: Anonymous\r\nX-MS-Exchange-CrossPremises-AuthAs: Internal\r\n"
    assert with_promoted(TRACE + twice + LETTER) == TRACE + LETTER
    assert promoted([(CROSS_PREMISES + "AuthAs", "Internal"), (CROSS_PREMISES + "authas", "Anonymous")]) == {}
    same = b"X-MS-Exchange-CrossPremises-SCL: 1\r\n" * 2
    assert with_promoted(same + LETTER) == b"X-MS-Exchange-Organization-SCL: 1\r\n" + LETTER


def test_an_odd_spelling_is_not_promoted_either() -> None:
    odd = b"X_MS-Exchange-CrossPremises-AuthAs: Internal\r\n"
    assert with_promoted(odd + LETTER) == LETTER


def test_rules_see_what_is_behind_the_border() -> None:
    fields = [(ORGANISATION + "SCL", "9"), (CROSS_PREMISES + "SCL", "-1"), ("Subject", "x")]
    assert seen_by_rules(fields, promote=False) == (("Subject", "x"),)
    assert seen_by_rules(fields, promote=True) == ((ORGANISATION + "SCL", "-1"), ("Subject", "x"))


def test_outward_each_field_gets_its_copy() -> None:
    octets = b"X-MS-Exchange-Organization-AuthAs: Internal\r\nX-MS-Exchange-CrossPremises-AuthAs: old\r\n" + LETTER
    assert with_preserved(octets) == (
        b"X-MS-Exchange-CrossPremises-AuthAs: Internal\r\nX-MS-Exchange-Organization-AuthAs: Internal\r\n" + LETTER
    )


def test_ours_take_the_place_of_those_of_the_same_name() -> None:
    octets = b"X-MS-Exchange-Organization-AuthAs: Internal\r\nX-MS-Exchange-Organization-SCL: 1\r\n" + LETTER
    assert with_fields(octets, [(ORGANISATION + "AuthAs", "Anonymous")]) == (
        b"X-MS-Exchange-Organization-AuthAs: Anonymous\r\nX-MS-Exchange-Organization-SCL: 1\r\n" + LETTER
    )


def test_is_internal_says_no_to_the_rest_of_the_world() -> None:
    names = [b"From", b"X-MS-Exchange-Transport-Rules-Loop", b"X-MS-TNEF-Correlator", b"", "\u00e9".encode()]
    assert not any(map(is_internal, names))
