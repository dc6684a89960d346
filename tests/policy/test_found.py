"""Rules are found by whom a message is to and from; the index hides none that could match."""

from __future__ import annotations

import pytest

from lockgate.mail.address import Address
from lockgate.mail.connection import Connection
from lockgate.mail.envelope import Envelope
from lockgate.mail.facts import Facts
from lockgate.mail.headers import message_of
from lockgate.mail.ruling import Standing
from lockgate.policy.found import UNBOUND, Bounds
from lockgate.policy.networks import parse_address
from lockgate.policy.problems import Invalid
from lockgate.policy.rules import Case, CompiledRules
from policies import policy

DO = "stop_rule_processing = true"


def rules(*texts: str) -> CompiledRules:
    whole = "".join(f'[[mail_flow_rule]]\nname = "r{number}"\n{text}\n' for number, text in enumerate(texts))
    return policy(whole).of("contoso").rules


def case(author: str = "x@sender.test", envelope: str = "x@sender.test") -> Case:
    connection = Connection("C", "192.0.2.1", parse_address("192.0.2.1"), 25, "192.0.2.2:25")
    message = message_of("id", f"From: {author}\r\nSubject: x\r\n\r\n".encode(), 10, "here")
    local, _, domain = envelope.partition("@")
    return Case(Facts(0.0, connection, Envelope(Address(local, domain)), (), message), Standing("contoso"))


def names(found: CompiledRules, recipient: str, of: Case | None = None) -> list[str]:
    local, _, domain = recipient.partition("@")
    return [rule.name for rule in found.could_match(of or case(), Address(local, domain))]


def test_by_the_address_and_the_domain_of_the_recipient() -> None:
    found = rules(f'sent_to = ["Ana@contoso.com", "ben@contoso.com"]\n{DO}',
                  f'recipient_domain_is = ["contoso.com"]\n{DO}', DO,
                  f'sent_to = ["ana@contoso.com"]\nrecipient_address_type = "original"\n{DO}')  # fmt: skip
    assert names(found, "ANA@contoso.com") == ["r0", "r1", "r2", "r3"]
    assert names(found, "carl@eu.contoso.com") == ["r1", "r2", "r3"], "where it was sent to first is not known here"
    assert names(found, "x@far.test") == ["r2", "r3"]


@pytest.mark.parametrize("where", ["header", "envelope", "header_or_envelope"])
def test_by_the_address_and_the_domain_of_whoever_it_is_from(where: str) -> None:
    texts = ('from = ["Bob@partner.test"]', 'sender_domain_is = ["partner.test"]', 'sender_domain_is = ["other.test"]')
    found = rules(*(f'sender_address_location = "{where}"\n{text}\n{DO}' for text in texts))
    assert names(found, "a@contoso.com", case("Bob <BOB@partner.test>")) == ["r0", "r1"]
    assert names(found, "a@contoso.com", case("x@sender.test", "y@mail.partner.test")) == ["r1"]
    assert names(found, "a@contoso.com", case("x@sender.test, y@other.test", "bob@partner.test")) == ["r0", "r1", "r2"]
    assert names(found, "a@contoso.com") == []
    assert names(found, "a@contoso.com", case()._replace(facts=Facts(0.0, case().facts.connection))) == []


def test_no_rule_changes_whom_it_is_from() -> None:
    """Else a rule could match behind another one that could not before."""
    for change in ('set_header = {name = "From", value = "bob@partner.test"}', 'remove_header = "from"'):
        with pytest.raises(Invalid, match=r"(?i)from says who sent it"):
            rules(change)


def test_what_leaves_the_least_is_what_a_rule_is_found_by() -> None:
    ana = 'sent_to = ["ana@contoso.com"]'
    found = rules(f'{ana}\nfrom = ["bob@partner.test"]\n{DO}',
                  f'either = [{{{ana}}}, {{sent_to = ["ben@contoso.com"]}}]\n{DO}',
                  f'either = [{{{ana}}}, {{subject_contains_words = ["x"]}}]\n{DO}')  # fmt: skip
    assert names(found, "ana@contoso.com") == ["r0", "r1", "r2"] and names(found, "carl@contoso.com") == ["r2"]
    assert not found.by_domain and rules(f'recipient_domain_is = ["a.test"]\n{DO}').by_domain


def test_bounds_come_together() -> None:
    a, b = Bounds(recipients=("a", "b"), senders=("s",)), Bounds(recipients=("c",), sender_domains=("d",))
    assert a.both(b) == Bounds(recipients=("c",), senders=("s",), sender_domains=("d",))
    assert a.either(b) == Bounds(recipients=("a", "b", "c")) and a.either(UNBOUND) == UNBOUND


def test_ten_thousand_rules_for_others_are_not_looked_at() -> None:
    texts = [f'{key} = ["{value.format(n)}"]\n{DO}' for n in range(2500) for key, value in (
        ("sent_to", "p{}@contoso.com"), ("from", "p{}@partner.test"), ("sender_domain_is", "d{}.test"),
        ("recipient_domain_is", "d{}.test"))]  # fmt: skip
    found = rules(*texts)
    assert len(found.all) == 10_000 and names(found, "ana@contoso.com") == []
    assert names(found, "p7@contoso.com", case("p9@partner.test", "x@d3.test")) == ["r14", "r28", "r37"]
