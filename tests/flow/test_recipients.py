"""Recipients from CSV and TOML: every form people hand over, and all mistakes at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.flow.recipients import ATTRIBUTES, MOST_PROBLEMS, read_recipients
from lockgate.mail.findings import RecipientKind
from lockgate.policy.documents import Invalid


def read(text: str, form: str = "csv"):
    return read_recipients(text, form, "people", "contoso")


def mistakes(text: str, form: str = "csv") -> list[tuple[int, str]]:
    with pytest.raises(Invalid) as caught:
        read(text, form)
    return [(problem.line, problem.path) for problem in caught.value.problems]


def test_csv_with_bom_quotes_and_exchange_prefixes():
    text = (
        "\ufeffAddress,Kind,Aliases,External_Address,Display_Name\r\n"
        'SMTP:Ann@contoso.test,mailbox,"smtp:a@contoso.test; b@contoso.test",,"Ann, of ""HQ"""\r\n'
        "carl@contoso.test,mail_contact,,carl@far.test,\r\n"
        "dora@bücher.test,,,,\r\n"
    )
    ann, carl, dora = read(text)
    assert [address.text for address in ann.addresses] == ["Ann@contoso.test", "a@contoso.test", "b@contoso.test"]
    assert (ann.who.kind, ann.who.attributes) == (RecipientKind.MAILBOX, {"display_name": 'Ann, of "HQ"'})
    assert carl.who.external is not None and carl.who.external.text == "carl@far.test"
    assert dora.who.kind is RecipientKind.MAIL_USER and dora.who.primary.domain == "xn--bcher-kva.test"
    assert all(entry.who.organisation == "contoso" for entry in (ann, carl, dora))


def test_toml():
    ann = '[[recipient]]\naddress = "a@c.test"\naliases = ["b@c.test"]\ncity = "Bonn"\n'
    text = ann + '\n[[recipient]]\naddress = "d@c.test"\n'
    first, second = read(text, "toml")
    assert [address.text for address in first.addresses] == ["a@c.test", "b@c.test"]
    assert first.who.attributes == {"city": "Bonn"} and second.who.primary.text == "d@c.test"
    wrong = '[[recipient]]\naddress = "a"\n\n[[recipient]]\nadress = "b@c.test"\n\n[[recipient]]\naddress = 5\n'
    assert mistakes(wrong, "toml") == [(1, "address"), (4, "adress"), (7, "address")]
    assert mistakes("[recipient]\n", "toml") and mistakes("x = 1\n", "toml") and mistakes("= 1\n", "toml")


def test_all_attributes_of_the_specification_are_columns():
    assert len(ATTRIBUTES) == 41
    row = ",".join(f"v{n}" for n in range(len(ATTRIBUTES)))
    (entry,) = read(f"address,{','.join(ATTRIBUTES)}\na@c.test,{row}\n")
    assert len(entry.who.attributes) == len(ATTRIBUTES)


def test_mistakes_of_the_table():
    assert mistakes("adress\na@c.test\n") == [(1, "adress"), (1, "address")]
    assert mistakes("address,city\na@c.test,x,y,z\n") == [(2, "")]
    assert mistakes("address\na@c.test\nA@C.test\n") == [(3, "address")]
    assert mistakes("") == [(1, "address")]
    assert mistakes("address\n", "xml") == [(1, "")]
    assert len(mistakes("address\n" + "nonsense\n" * 5000)) <= MOST_PROBLEMS + 2


@given(st.text(max_size=300), st.sampled_from(["csv", "toml"]))
def test_nothing_but_invalid_comes_out(text, form):
    try:
        read(text, form)
    except Invalid as trouble:
        assert trouble.problems
