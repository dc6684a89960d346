"""Addresses: spellings of one recipient compare equal, and what has to stay quoted stays so (RFC 5321 4.1.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.address import AddressError, kept_spelling, one_spelling, parse_address
from lockgate.mail.mailboxes import read_mailboxes


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ('"ann"@d.test', "ann@d.test"),
        (r'"a\nn"@d.test', "ann@d.test"),
        ('"ann.lee+tag"@d.test', "ann.lee+tag@d.test"),
        ('"postmaster"@d.test', "postmaster@d.test"),
        ('"j\u00fc"@d.test', "j\u00fc@d.test"),
        ('"ju\u0308"@d.test', "j\u00fc@d.test"),
        ('"odd one"@d.test', '"odd one"@d.test'),
        (r'"odd\ one"@d.test', '"odd one"@d.test'),
        (r'"o\d\"d\\"@d.test', r'"od\"d\\"@d.test'),
        ('".."@d.test', '".."@d.test'),
        ('"ann."@d.test', '"ann."@d.test'),
        ('"a@b"@d.test', '"a@b"@d.test'),
        ('""@d.test', '""@d.test'),
    ],
)
def test_one_spelling(text, plain):
    assert parse_address(text, utf8=True).text == plain
    assert parse_address(text, utf8=True).key == plain
    assert [one.address for one in read_mailboxes(text).found] == [plain], "what a header field says compares with it"
    assert kept_spelling(f"<{text}>") == plain


def test_a_letter_whose_normal_form_is_a_sign_is_judged_by_that_sign():
    with pytest.raises(AddressError, match="character"):
        parse_address("a\u037eb@d.test", utf8=True)
    assert parse_address('"a\u037eb"@d.test', utf8=True).local == '"a;b"'


@pytest.mark.parametrize("text", ["", "~3f9a2c1b5d7e8f01", "ann", "<>"])
def test_what_is_no_address_is_looked_for_as_it_is(text):
    assert kept_spelling(text) == text.strip("<>")


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=25), st.sets(st.integers(0, 24)))
def test_pairs_make_no_difference_and_the_spelling_is_read_as_itself(content, paired):
    signs = [f"\\{sign}" if sign in '"\\' or place in paired else sign for place, sign in enumerate(content)]
    least = [f"\\{sign}" if sign in '"\\' else sign for sign in content]
    found = parse_address(f'"{"".join(signs)}"@d.test')
    assert found == parse_address(f'"{"".join(least)}"@d.test')
    assert parse_address(found.text) == found and one_spelling(found.local) == found.local
