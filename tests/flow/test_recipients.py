"""Recipients from CSV and TOML: every form people hand over, and every mistake with its line."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.flow.recipients import ATTRIBUTES, COLUMNS, LONGEST_VALUE, Wrong, name_of, quiet, read_rows
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import RecipientKind
from lockgate.policy.problems import Invalid


def found(text: str, form: str = "csv") -> list[tuple[int, RecipientRow] | Wrong]:
    return list(read_rows(io.StringIO(text, newline=""), form, "people", "contoso"))


def rows(text: str, form: str = "csv") -> list[RecipientRow]:
    return [one[1] for one in found(text, form) if not isinstance(one, Wrong)]


def mistakes(text: str, form: str = "csv") -> list[tuple[int, str]]:
    return [(one.line, one.column) for one in found(text, form) if isinstance(one, Wrong)]


def test_csv_with_bom_quotes_and_exchange_prefixes():
    text = (
        "\ufeffAddress,Kind,Aliases,External_Address,Display_Name\r\n"
        'SMTP:Ann@contoso.test,mailbox,"smtp:a@contoso.test; b@contoso.test",,"Ann, of ""HQ"""\r\n'
        "carl@contoso.test,mail_contact,,carl@far.test,\r\n"
        "dora@bücher.test,,,,\r\n"
    )
    ann, carl, dora = rows(text)
    assert [address.text for address in ann.addresses] == ["Ann@contoso.test", "a@contoso.test", "b@contoso.test"]
    assert (ann.kind, ann.attributes) == (RecipientKind.MAILBOX, {"display_name": 'Ann, of "HQ"'})
    assert carl.external is not None and carl.external.text == "carl@far.test"
    assert dora.kind is RecipientKind.MAIL_USER and dora.primary.domain == "xn--bcher-kva.test"
    assert all(one.organisation == "contoso" for one in (ann, carl, dora))


def test_toml_says_the_same_as_csv():
    values = {name: f"value of {name}" for name in ATTRIBUTES}
    text = '[[recipient]]\naddress = "a@c.test"\nkind = "distribution_group"\naliases = ["b@c.test", "c@c.test"]\n'
    text += 'external_address = "x@far.test"\n' + "".join(f'{key} = "{value}"\n' for key, value in values.items())
    head, cells = ",".join(COLUMNS), ",".join(values[name] for name in ATTRIBUTES)
    assert rows(text, "toml") == rows(f"{head}\na@c.test,distribution_group,b@c.test c@c.test,x@far.test,{cells}\n")
    wrong = '[[recipient]]\naddress = "a"\n\n[[recipient]]\nadress = "b@c.test"\n\n[[recipient]]\naddress = 5\n'
    assert mistakes(wrong, "toml") == [(1, "address"), (4, "adress"), (7, "address")]
    for whole in ("[recipient]\n", "x = 1\n", "= 1\n", "recipient = [1]\n"):
        with pytest.raises(Invalid):
            found(whole, "toml")


def test_names_are_known_in_every_spelling_and_the_nearest_is_told():
    assert len(ATTRIBUTES) == 41
    assert name_of("CustomAttribute1") == name_of("custom_attribute_1") == "custom_attribute1"
    assert name_of("PO Box") == "po_box" and name_of("ExternalAddress") == "external_address"
    with pytest.raises(KeyError, match="'departement' is no attribute of a recipient; department is near"):
        name_of("departement")
    with pytest.raises(KeyError, match="there are address, kind"):
        name_of("qqqqqq")


def test_every_wrong_line_is_told_and_the_others_are_read():
    lines = ["address,kind,city"]
    lines += [f"nonsense{n}" if n % 2 else f"user{n}@c.test,mailbox,x" for n in range(20_000)]
    lines += ["a@c.test,robot,x", "b@c.test,mailbox,x,y", f"c@c.test,mailbox,{'z' * (LONGEST_VALUE + 1)}", ",mailbox,x"]
    told = found("\n".join(lines) + "\n")
    wrong = [one for one in told if isinstance(one, Wrong)]
    assert len(wrong) == 10_004 and len(told) - len(wrong) == 10_000
    assert wrong[0].line == 3 and "'nonsense1' is no address" in wrong[0].message and "write" in wrong[0].message
    assert [one.line for one in wrong[-4:]] == [20_002, 20_003, 20_004, 20_005]
    assert "'robot' is no kind of recipient; there are mailbox" in wrong[-4].message
    assert "4 values for 3 columns" in wrong[-3].message and "at most" in wrong[-2].message
    assert wrong[-1].message.startswith("the address is missing")


def test_a_file_of_another_kind_is_refused_whole():
    for text, path in (("adress\na@c.test\n", "adress"), ("", "address"), ("address,city,City\n", "city")):
        with pytest.raises(Invalid) as caught:
            found(text)
        assert path in [problem.path for problem in caught.value.problems]
    with pytest.raises(Invalid):
        found("address\n", "xml")


@given(st.text(min_size=1, max_size=40))
def test_a_quiet_cell_is_no_formula_and_comes_back(text):
    cell = quiet(text)
    assert cell[0] not in "=+-@\t\r"
    value = text.strip()
    if value == text and "\n" not in text and "\r" not in text and "\0" not in text:
        out = io.StringIO(newline="")
        import csv

        csv.writer(out, lineterminator="\n").writerows([("address", "city"), ("a@c.test", cell)])
        (row,) = rows(out.getvalue())
        assert row.attributes == {"city": text}


@given(st.text(max_size=300), st.sampled_from(["csv", "toml"]))
def test_nothing_but_invalid_comes_out(text, form):
    try:
        found(text, form)
    except Invalid as trouble:
        assert trouble.problems
