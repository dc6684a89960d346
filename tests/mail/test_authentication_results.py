"""Authentication-Results: nothing from outside adds a word, and whatever might be taken for ours is recognised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.authentication import Arc, ArcVerdict, Dkim, DkimVerdict, Dmarc, DmarcVerdict, Spf, SpfVerdict
from lockgate.mail.authentication_results import claims_to_be, field, results
from lockgate.mail.headers import read_headers

US = "mx.us.test"


def test_what_was_found_is_written_as_exchange_does():
    parts = results(
        US, peer="192.0.2.1", sender="d.test", spf=Spf(SpfVerdict.PASS, "d.test"),
        dkim=(Dkim(DkimVerdict.FAIL, "d.test", "s", problem="the body was changed"),),
        dmarc=Dmarc(DmarcVerdict.PASS, "d.test"), arc=Arc(ArcVerdict.PASS, 2, "list.test"), composite=("pass", "100"),
    )  # fmt: skip
    assert field(parts) == (
        b"Authentication-Results: mx.us.test;\r\n"
        b"\tspf=pass (sender IP is 192.0.2.1) smtp.mailfrom=d.test;\r\n"
        b"\tdkim=fail (the body was changed) header.d=d.test header.s=s;\r\n"
        b"\tdmarc=pass action=none header.from=d.test; arc=pass (i=2 d=list.test);\r\n"
        b"\tcompauth=pass reason=100\r\n"
    )
    assert field(results(US, peer="192.0.2.1", sender="")) == b"Authentication-Results: mx.us.test; none\r\n"


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_no_text_from_outside_adds_a_line_or_a_result(domain, problem, peer):
    parts = results(
        US, peer=peer, sender=domain, spf=Spf(SpfVerdict.FAIL, domain),
        dkim=(Dkim(DkimVerdict.PERMERROR, domain, domain, problem=problem),),
        dmarc=Dmarc(DmarcVerdict.FAIL, domain), arc=Arc(ArcVerdict.FAIL, 1, domain),
    )  # fmt: skip
    made = field(parts)
    headers = read_headers(made + b"\r\n")
    assert [name for name, _ in headers.fields] == [b"Authentication-Results"] and not headers.malformed
    outside = "".join(piece for number, piece in enumerate(made.decode().split('"')) if number % 2 == 0)
    assert outside.count(";") == len(parts) - 1, "one semicolon for each part, none from outside"


@pytest.mark.parametrize(
    "value",
    [b" mx.us.test; spf=pass", b" MX.US.Test ;x", b"\r\n mx.us.test\r\n ; x", b' "mx.us.test"; x',
     b" (c) mx.us.test 1; x",     b" mx.(hidden)us.test; x", b" mx.us.test", b" x.mx.us.test; spf=pass"],
)  # fmt: skip
def test_fields_that_might_be_ours(value):
    assert claims_to_be(value, US)


@pytest.mark.parametrize("value", [b" other.test; spf=pass", b" other.test; x=mx.us.test", b" mx.us.tes; x", b""])
def test_fields_of_others(value):
    assert not claims_to_be(value, US)
