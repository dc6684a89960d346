"""The organisational domain by the list of public suffixes, as DMARC guesses where there is no record."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import idna
import pytest
from publicsuffixlist import PublicSuffixList

from fixtures_folder import fixtures_folder
from lockgate.mail.authentication import Dkim, DkimVerdict, DmarcVerdict
from lockgate.mail.headers import read_headers
from lockgate.probes.trust.dmarc import DmarcCheck
from lockgate.testing.dns import ZoneResolver

CASES = [
    ("com", "com"), ("example.com", "example.com"), ("b.example.com", "example.com"),
    ("a.b.example.com", "example.com"), ("uk.com", "uk.com"), ("example.uk.com", "example.uk.com"),
    ("b.example.uk.com", "example.uk.com"), ("test.ac", "test.ac"), ("co.uk", "co.uk"),
    ("example.co.uk", "example.co.uk"), ("deep.er.example.co.uk", "example.co.uk"), ("jp", "jp"),
    ("test.jp", "test.jp"), ("www.test.jp", "test.jp"), ("ac.jp", "ac.jp"), ("test.ac.jp", "test.ac.jp"),
    ("www.test.ac.jp", "test.ac.jp"), ("kyoto.jp", "kyoto.jp"), ("test.kyoto.jp", "test.kyoto.jp"),
    ("ide.kyoto.jp", "ide.kyoto.jp"), ("b.ide.kyoto.jp", "b.ide.kyoto.jp"), ("a.b.ide.kyoto.jp", "b.ide.kyoto.jp"),
    ("c.kobe.jp", "c.kobe.jp"), ("b.c.kobe.jp", "b.c.kobe.jp"), ("a.b.c.kobe.jp", "b.c.kobe.jp"),
    ("city.kobe.jp", "city.kobe.jp"), ("www.city.kobe.jp", "city.kobe.jp"), ("ck", "ck"), ("test.ck", "test.ck"),
    ("b.test.ck", "b.test.ck"), ("a.b.test.ck", "b.test.ck"), ("www.ck", "www.ck"), ("www.www.ck", "www.ck"),
    ("test.us", "test.us"), ("www.test.us", "test.us"), ("test.ak.us", "test.ak.us"),
    ("www.test.k12.ak.us", "test.k12.ak.us"), ("xn--85x722f.com.cn", "xn--85x722f.com.cn"),
    ("www.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"), ("shishi.xn--55qx5d.cn", "shishi.xn--55qx5d.cn"),
    ("nobody.knows.unlisted", "knows.unlisted"), ("unlisted", "unlisted"),
]  # fmt: skip


async def guessed(domain: str, signer: str) -> tuple[str, bool]:
    """The organisational domain that DMARC guesses, and whether a signature of `signer` would prove the author."""
    names = [domain.split(".", n)[-1] for n in range(domain.count(".") + 1)]
    zone = ZoneResolver(texts={f"_dmarc.{name}": [] for name in names} | {name: [] for name in names})
    signed = Dkim(DkimVerdict.PASS, signer, "s")
    headers = read_headers(f"From: <a@{domain}>\r\n\r\n".encode())
    found = await DmarcCheck(zone).check(headers, None, (signed,))
    return found.organisational, found.verdict is DmarcVerdict.BEST_GUESS_PASS


@pytest.mark.parametrize(("domain", "organisation"), [case for case in CASES if "." in case[0]])
async def test_the_guess(domain: str, organisation: str) -> None:
    assert await guessed(domain, domain) == (organisation, True)
    _, proven = await guessed(domain, f"other-{organisation}")
    assert not proven, "a neighbour under the same suffix proves nothing"


def rules() -> Iterator[str]:
    """The rules of the published list, as A-labels."""
    text = (fixtures_folder("psl") / "public_suffix_list.dat").read_text("utf-8")
    for line in text.splitlines():
        rule = line.split(" ")[0]
        if rule and not rule.startswith("//"):
            sign = rule[: len(rule) - len(rule.lstrip("!*."))]
            yield sign + idna.encode(rule[len(sign) :], uts46=True).decode()


def by_the_book(name: str, known: frozenset[str]) -> str:
    """The registrable domain by the algorithm of publicsuffix.org, word for word."""
    labels = name.split(".")
    matching: list[tuple[int, bool]] = []
    for place in range(len(labels)):
        rest = labels[place:]
        if "!" + ".".join(rest) in known:
            matching.append((len(rest) - 1, True))
        if ".".join(rest) in known or ".".join(["*", *rest[1:]]) in known:
            matching.append((len(rest), False))
    exceptions = [length for length, exception in matching if exception]
    length = exceptions[0] if exceptions else max([length for length, _ in matching], default=1)
    return ".".join(labels[-(length + 1) :]) if len(labels) > length else ""


def names(rule: str) -> list[str]:
    plain = rule.lstrip("!").replace("*", "wild")
    return [plain, f"one.{plain}", f"two.one.{plain}"]


def test_every_rule_of_the_published_list() -> None:
    known = frozenset(rules())
    text = (fixtures_folder("psl") / "public_suffix_list.dat").read_text("utf-8")
    library: Any = PublicSuffixList(io.StringIO(text))
    asked = [name for rule in known for name in names(rule)]
    wrong = [name for name in asked if (library.privatesuffix(name) or "") != by_the_book(name, known)]
    assert len(asked) > 25_000
    assert wrong == []


def test_the_list_that_is_installed_says_the_same_nearly_everywhere() -> None:
    """The package brings a list of its own date; rules come and go, in the part of private domains above all."""
    known = frozenset(rules())
    library: Any = PublicSuffixList()
    asked = [name for rule in known for name in names(rule)]
    wrong = [name for name in asked if (library.privatesuffix(name) or "") != by_the_book(name, known)]
    assert len(wrong) <= 0.005 * len(asked), wrong[:50]
