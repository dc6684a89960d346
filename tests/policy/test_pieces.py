"""Fixed pieces of expressions: what is needed of each, and that nothing is missed by looking for them first."""

import random
import sys
import unicodedata

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from lockgate.policy.expressions import translate
from lockgate.policy.pieces import LONGEST_PIECE, PieceSet, pieces_of
from lockgate.policy.text import TextError, TextSet, pattern, word


def needed(*ways):
    return tuple(frozenset(way.split("|")) for way in ways)


@pytest.mark.parametrize(
    ("expression", "ways"),
    [
        (r"\bInvoice\w*\s+due\d{2,4}", needed("invoice|due")),
        (r"invoice\s+overdue", needed("invoice|overdue")),
        (r"invoice|Rechnung|facture", needed("invoice", "rechnung", "facture")),
        (r"\b(?:viagra|cialis)\b", needed("viagra", "cialis")),
        (r"your (invoice|order)", needed("your |invoice", "your |order")),
        (r"in(?:voice|quiry)", needed("in|voice", "in|quiry")),
        (r"colou?r", needed("colo|r")),
        (r"cool+er", needed("cool|er")),
        (r"remind(?:er)?", needed("remind")),
        (r"(?:ab)?(?:cd)*", ()),
        (r"pin\d", needed("pin")),
        (r"re:", needed("re:")),
        (r"^ab$", ()),
        (r"^invoice$", needed("invoice")),
        (r"invoice|\d+", ()),
        (r"(?:invoice){0}", ()),
        (r"(?:invoice){2,}", needed("invoice")),
        (r"[abc]defg[^x]hijk", needed("defg|hijk")),
        (r"网站\d", needed("网站")),
        (r"网\d", ()),
        (r"STRASSE", needed("strasse")),
        (r"straße", needed("strasse")),
        (r"ΟΔΟΣ", needed("οδοσ")),
        (r"a(?s).b\.exe", needed("a|b.exe")),
        ("x" * 40, needed("x" * LONGEST_PIECE)),
    ],
)
def test_what_an_expression_needs(expression, ways):
    assert pieces_of(translate(expression)) == ways


def test_letters_whose_other_case_python_may_not_know_yet_are_no_part_of_a_piece():
    assert pieces_of(r"\x{264}" * 4) == () == pieces_of(r"\x{E0080}" * 4)
    assert pieces_of(rf"abcd{chr(0x264)}efgh") == needed("abcd|efgh")


def test_a_group_that_says_little_does_not_multiply_the_ways():
    assert pieces_of(r"(?:ab|cd|ef)invoice") == needed("invoice")
    assert pieces_of(r"(?:ab|cde)xy") == ()


@pytest.mark.parametrize(
    "expression",
    [r"(?P<n>abcd)", r"[[:alpha:]]abcd", r"\Qabcd", r"abcd\1", "(abcd", "abcd)", r"\Babcd", r"(?:abcd", "abcd[", "\\",
     "abcd?+efgh"],
)
def test_of_what_is_not_understood_nothing_is_needed(expression):
    assert pieces_of(expression) == ()


def test_a_zero_octet_in_a_word_is_no_digits():
    assert TextSet([word("a\0b")]).hits("an a\0b") == {0}
    assert pieces_of(word("abcd\0efgh").found_by) == needed("abcd|efgh")


def test_all_pieces_of_one_way_have_to_be_there():
    pieces = PieceSet([needed("invoice|overdue", "mahnung"), (), needed("voice")])
    assert pieces.possible(b"an invoice") == {2}
    assert pieces.possible(b"overdue invoices") == {0, 2}
    assert pieces.possible(b"mahnung") == {0}
    assert pieces.possible(b"") == set()
    assert PieceSet([needed("warning|7")]).possible(b"warning 17") == {0}
    assert PieceSet([needed("warning|7")]).possible(b"warning 18") == set()
    assert PieceSet([(), ()]).possible(b"anything") == set()


def test_what_is_in_a_text_at_every_place_hides_nothing_else():
    pieces = PieceSet([needed("xxx"), needed("xxxx"), needed("needle"), needed("never there")])
    for place in (0, 16_383, 16_390, 200_000):
        text = b"x" * place + b"needle" + b"x" * (200_000 - place)
        assert pieces.possible(text) == {0, 1, 2}


def test_more_pieces_than_a_table_takes_are_found_as_well():
    written = [f"wort{number:08}" for number in range(8_000)]
    pieces = PieceSet([needed(one) for one in written])
    assert pieces.possible(b"wort00000000 wort00007999 wort99999999") == {0, 7_999}


def test_whatever_is_one_letter_for_re2_is_one_letter_here():
    """Else a text could have a letter in a case that RE2 takes for it, and the piece would not be found."""
    cased = [sign for sign in map(chr, range(sys.maxunicode + 1)) if _is_cased(sign)]
    assert len(cased) > 2_700
    everything = "".join(cased).encode()
    compared = 0
    for sign in cased:
        need = pieces_of(f"\\x{{{ord(sign):X}}}" * 4)
        if not need:
            continue
        (piece,) = need[0]
        for other in re2.compile(re2.escape(sign), _options()).findall(everything):
            compared += 1
            assert (other.decode() * 4).casefold()[:LONGEST_PIECE] == piece, sign
    assert compared > 5_000


def _is_cased(sign):
    if unicodedata.category(sign) == "Cs" or unicodedata.normalize("NFKC", sign) != sign:
        return False
    return sign.lower() != sign or sign.upper() != sign or sign.casefold() != sign


@given(
    st.text(alphabet=r"abcdéßσΣİжЖ网.*+?()[]|^$\bdw ", min_size=3, max_size=24),
    st.lists(st.text(alphabet="abcdABéÉßSsσςΣİiжЖᲀ网 1", max_size=8), max_size=6),
)
def test_what_re2_finds_has_its_pieces(expression, parts):
    try:
        found_by = pattern(expression).found_by
    except TextError:
        return
    _assert_possible(found_by, "".join(parts) + expression)


def test_what_re2_finds_has_its_pieces_where_it_finds_much():
    dice = random.Random(11)
    found = 0
    for _ in range(5_000):
        found += _assert_possible(translate(_expression(dice, 3)), "".join(dice.choices("abABкК ", k=300)))
    assert found > 1_000


def _expression(dice, depth):
    kind = dice.randrange(6) if depth else 0
    if kind <= 1:
        return "".join(dice.choices("abABкК", k=dice.randint(1, 4)))
    if kind == 2:
        return f"(?:{_expression(dice, depth - 1)}|{_expression(dice, depth - 1)})"
    if kind == 3:
        return f"(?:{_expression(dice, depth - 1)}){dice.choice(['?', '*', '+', '{2}', '{0,3}', '{1,2}?'])}"
    if kind == 4:
        return _expression(dice, depth - 1) + dice.choice([".", r"\s?", "[ab]*", r"\w{1,3}"])
    return _expression(dice, depth - 1) + _expression(dice, depth - 1)


def _options():
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    return options


def _assert_possible(found_by, text):
    plain = unicodedata.normalize("NFKC", text)
    if re2.compile(found_by, _options()).search(plain.encode()) is None:
        return False
    need = pieces_of(found_by)
    if need:
        assert PieceSet([need]).possible(plain.casefold().encode()) == {0}
    return bool(need)
