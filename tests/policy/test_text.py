"""Words and expressions of mail flow rules: what is found, what is refused when saved, and what it costs."""

import random
import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.policy.expressions import LONGEST, ExpressionError, translate
from lockgate.policy.text import LONGEST_WORD, TextError, TextSet, pattern, plain_of, word
from pace import slower


def has(needle, text):
    return bool(TextSet([needle]).hits(text))


@pytest.mark.parametrize(
    ("wanted", "text", "found"),
    [
        ("contoso", "my Contoso, Inc.", True),
        ("contoso", "Acontoso", False),
        ("contoso", "contosob", False),
        ("contoso", "contoso1", False),
        ("contoso", "contoso_x", False),
        ("contoso", "(CONTOSO)", True),
        ("pay now", "please PAY\r\n  NOW!", True),
        ("pay now", "pay nowhere", False),
        ("a*b", "it is a*b here", True),
        ("a*b", "it is aab here", False),
        ("$100", "only $100!", True),
        ("c++", "we write C++.", True),
        ("straße", "HAUPTSTRASSE", False),
        ("straße", "die STRASSE 5", True),
        ("STRASSE", "die Straße 5", True),
        ("ΟΔΟΣ", "η οδος εδω", True),
        ("été", "en l’e\u0301te\u0301", True),
        ("ﬁx", "please fix it", True),
        ("ＡＢＣ", "an abc here", True),
        ("网站", "请访问网站吧", True),
        ("contoso", "请访问contoso网站", True),
        ("ภาษา", "พูดภาษาไทย", True),
        ("привет", "Скажи ПРИВЕТ всем", True),
        ("привет", "приветствие", False),
        ("x", "", False),
    ],
)
def test_a_word_is_whole_in_any_script(wanted, text, found):
    assert has(word(wanted), text) is found


@pytest.mark.parametrize(
    ("wanted", "because"),
    [("", "empty"), ("  ", "empty"), (" a", "space"), ("a ", "space"), ("a" * (LONGEST_WORD + 1), "characters")],
)
def test_a_word_that_cannot_be_meant_is_refused(wanted, because):
    with pytest.raises(TextError, match=because):
        word(wanted)


@pytest.mark.parametrize(
    ("expression", "text", "found"),
    [
        (r"\bviagra\b", "buy Viagra!", True),
        (r"\bviagra\b", "buyviagra", False),
        (r"\b(viagra|cialis)\b", "(CIALIS)", True),
        (r"\bcaf\u00e9\b", "au CAFÉ, toujours", True),
        (r"\bcaf\u00e9\b", "cafés", False),
        (r"\d{3}-\d{4}", "call ٣٤٥-1234", True),
        (r"^re:", "RE: x", True),
        (r"^re:", "x re:", False),
        (r"end$", "the end\n", True),
        (r"end\z", "the end\n", False),
        (r"[a-z]+@[\w.]+", "x@ä.b", True),
        (r"foo\b bar", "foo bar", True),
        (r"foo\bbar", "foobar", False),
        (r"foo\Bbar", "foobar", True),
        (r"(?<n>x|y)z", "yz", True),
        (r"(?'n'x|y)z", "yz", True),
        (r"[^\d]", "1", False),
        (r"(?i)abc", "xABC", True),
        (r"x|\by\b", "a y b", True),
        (r"[]a]", "]", True),
        (r"a{,3}", "a{,3}", True),
        (r"a(?#remark)b", "ab", True),
        (r"\x41\u00E4\t", "aÄ\t", True),
        (r"\p{IsCyrillic}{3}", "слово", True),
        (r"\p{Lu}", "A", True),
        (r"(?s)a.b", "a\nb", True),
        (r"a.b", "a\nb", False),
        (r"abc{02}d", "abccd", True),
        (r"abc{02,003}d", "abcccd", True),
        (r"abc{0,00}d", "abd", True),
        (r"(?m)^b$", "a\nb\nc", True),
        (r"\.exe$", "run.exe", True),
        (r"\bé", "é", True),
    ],
)
def test_an_expression_of_dotnet_means_here_what_it_meant_there(expression, text, found):
    assert has(pattern(expression), text) is found


@pytest.mark.parametrize(
    ("expression", "because"),
    [
        ("", "empty"),
        ("a" * (LONGEST + 1), "characters"),
        ("a(?=b)", r"looks ahead.*character 2"),
        ("(?<!a)b", "looks behind"),
        ("(?>a)b", "atomic"),
        ("(?(a)b|c)", "condition"),
        (r"(a)\1", r"refers back.*character 4"),
        (r"(?<n>a)\k<n>", "refers back"),
        ("a{2,1}", "ends before"),
        ("a{1001}", "1000"),
        ("a**", "repeated"),
        ("*a", "repeats nothing"),
        ("(a", "not closed"),
        ("a)", "closes nothing"),
        ("[a", "not closed"),
        ("[z-a]", "backwards"),
        ("[a-z-[aeiou]]", "taken from a class"),
        ("a\\", "ends with"),
        (r"\y", "means nothing"),
        (r"\u00g0", "hexadecimal"),
        (r"\p{IsKlingon}", "not known"),
        ("(?x)a b", "option x"),
        ("(?-i)a", "case-insensitive"),
        (r".\b.", r"beside \\b"),
        (r"(\bfoo)+x", "cannot be repeated"),
        ("(" * 60 + ")" * 60, "nested"),
        (r"(.{0,500}){0,500}x", "cannot be used"),
        (r"\w{900}z", "cannot be used|too costly"),
        (r"(?:\w{1,100}\s){8}", "cannot be used|too costly"),
    ],
)
def test_what_cannot_be_said_in_linear_time_is_refused_with_its_place(expression, because):
    with pytest.raises(TextError, match=because):
        pattern(expression)


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_is_refused(text):
    try:
        has(pattern(text), text)
    except TextError as trouble:
        assert str(trouble)


@given(st.text(alphabet=r"ab\bdwW.*+?()[]|^${}1,-é ", max_size=20))
def test_what_is_translated_can_be_compiled_and_run(text):
    try:
        translate(text)
    except ExpressionError:
        return
    try:
        has(pattern(text), "abé 1")
    except TextError as trouble:
        assert "cannot be used" in str(trouble) or "costly" in str(trouble)


SIGNS = "abcé ßx*"


@given(st.lists(st.text(SIGNS, min_size=1, max_size=6).map(str.strip).filter(bool), max_size=8), st.text(SIGNS))
def test_many_words_together_find_what_each_finds_alone(words, text):
    together = TextSet(map(word, words)).hits(text)
    assert together == {number for number, one in enumerate(words) if has(word(one), text)}


HOSTILE = [
    r"(a+)+$", r"(x+x+)+y", r".*.*.*.*=.*;", r"(a|b|ab)*c", r"(?:a?){500}a{500}", r"(?:a|a?)+$", r"[^a]\w{28}[^b]",
]  # fmt: skip


@pytest.mark.parametrize("expression", HOSTILE)
def test_a_hostile_expression_takes_no_tenth_of_a_second(expression):
    found = TextSet([pattern(expression)])
    randomly = random.Random(7)
    for text in ("a" * 16_000 + "!", "ab" * 8_000, "".join(randomly.choice("abxö") for _ in range(16_000))):
        spent = min(_spent(found, text) for _ in range(3))
        assert spent < 0.1 * slower()


def _spent(found, text):
    began = time.process_time()
    found.hits(text)
    return time.process_time() - began


@pytest.mark.parametrize("often", [0, 1, 29, 30, 31, 200])
def test_a_word_is_found_alone_behind_however_many_words_that_have_it(often):
    text = "приветствие Xvoice " * often
    assert has(word("привет"), text + "«Привет»") and has(word("voice"), text + "the voice")
    assert not has(word("привет"), text) and not has(word("voice"), text)
    assert has(word("a a"), "xa a a") and not has(word("a a"), "xa a ab")


def test_a_text_full_of_what_is_looked_for_takes_no_tenth_of_a_second():
    found = TextSet([word("voice"), word("invoice"), pattern(r"voices\d")])
    for text in ("xvoice" * 40_000, "invoices" * 30_000, "voice" * 50_000):
        assert not found.hits(text)
        assert min(_spent(found, text) for _ in range(3)) < 0.1 * slower()


ENDLESS = [word("x" * often) for often in range(3, 13)]
PAIRS = "|".join(f"{one}{other}" for one in "bcdfghjkl" for other in "bcdfghjkl")


@pytest.mark.parametrize(
    ("needles", "text"),
    [
        (ENDLESS, "x" * 1_000_000),
        ([word("哈哈")], "哈" * 300_000),
        ([pattern(rf"(?:{PAIRS})\s.?invoice{n}") for n in range(50)], "invoice " * 130_000),
        ([word("secret")], "a" + "\u0301\u0316" * 60_000),
        ([pattern(r"invoice.{200}a.*c")], "invoice" + "ab" * 500_000 + "c"),
    ],
    ids=["found at every place", "in Han", "many ways", "marks in the wrong order", "far back"],
)
def test_a_large_text_made_to_cost_takes_no_tenth_of_a_second(needles, text):
    found = TextSet(needles)
    found.hits(text)
    assert min(_spent(found, text) for _ in range(3)) < 0.1 * slower()


def test_a_text_brought_into_nfkc_in_pieces_is_the_same():
    dice = random.Random(5)
    for signs in ("e\u0301\u0323 ", "\u1112\u1161\u11ab", "か\u3099", "ﬁ\u00a0x", "ক\u09c7\u09be"):
        for length in (4_095, 4_096, 4_097, 9_000):
            text = "".join(dice.choices(signs, k=length))
            if not re.search("[\u0301\u0323\u3099\u09c7\u09be]{30}", text):
                assert plain_of(text) == unicodedata.normalize("NFKC", text)


def test_many_needles_together_find_what_each_finds_alone():
    dice = random.Random(7)
    letters = "abcdeабвгд网站"
    written = ["".join(dice.choices(letters, k=dice.randint(1, 4))) for _ in range(130)]
    needles = [pattern(rf"{text}\w") if n % 3 == 0 else word(text) for n, text in enumerate(written)]
    together, alone = TextSet(needles), [TextSet([needle]) for needle in needles]
    hits = 0
    for _ in range(20):
        text = " ".join("".join(dice.choices(letters, k=dice.randint(1, 4))) for _ in range(60))
        found = together.hits(text)
        assert found == {number for number, one in enumerate(alone) if one.hits(text)}
        hits += len(found)
    assert hits > 100
