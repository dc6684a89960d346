"""What our domains publish: only those that receive and want it, with an id that follows from the content."""

from __future__ import annotations

import pytest

from lockgate.mail.sts import StsMode
from lockgate.mail.sts_text import announced, read_policy
from lockgate.policy.compile import compile_policy
from lockgate.policy.policy import Policy
from lockgate.policy.problems import Invalid
from lockgate.policy.publishing import all_published, is_covered, published, report_record

HOST = "mx.lockgate.test"
TWO = """
[[organisation]]
name = "contoso"
[[organisation]]
name = "fabrikam"

[[accepted_domain]]
domain_name = "contoso.test"
organisation = "contoso"
vouched_by_operator = true
mta_sts_mode = "enforce"
mta_sts_mx = ["MX1.Contoso.test.", "*.Bücher.test"]
mta_sts_max_age = "30d"

[[accepted_domain]]
domain_name = "fabrikam.test"
organisation = "fabrikam"
vouched_by_operator = true
mta_sts_mode = "none"

[[accepted_domain]]
domain_name = "silent.test"
organisation = "fabrikam"
vouched_by_operator = true

[[accepted_domain]]
domain_name = "unproven.test"
organisation = "fabrikam"
mta_sts_mode = "enforce"
"""


def compiled(text: str = TWO) -> Policy:
    return compile_policy({"one.toml": text}, hostname=HOST, revision=1)


def test_policies_of_all_organisations_by_host() -> None:
    found = all_published(compiled())
    assert sorted(found) == ["mta-sts.contoso.test", "mta-sts.fabrikam.test"]
    ours = read_policy(found["mta-sts.contoso.test"])
    assert (ours.mode, ours.max_age) == (StsMode.ENFORCE, 30 * 86400)
    assert ours.mx == ("mx1.contoso.test", "*.xn--bcher-kva.test")
    other = read_policy(found["mta-sts.fabrikam.test"])
    assert (other.mode, other.mx, other.max_age) == (StsMode.NONE, (HOST,), 604800)


def test_another_policy_has_another_id_and_the_same_the_same() -> None:
    def record(text: str) -> str:
        (domain,) = [one for one in compiled(text).of("contoso").accepted if one.domain_name == "contoso.test"]
        ours = published(domain, HOST)
        assert ours is not None
        return announced([ours.record])

    first = record(TWO)
    assert first == record(TWO.replace('mta_sts_mx = ["MX1.Contoso.test."', 'mta_sts_mx = ["mx1.contoso.test"'))
    assert len({first, record(TWO.replace("30d", "31d")), record(TWO.replace('"enforce"', '"testing"', 1))}) == 3


@pytest.mark.parametrize(
    "line",
    [
        'mta_sts_mode = "strict"', 'mta_sts_max_age = "400d"', "mta_sts_max_age = -1", 'mta_sts_mx = ["*"]',
        'mta_sts_mx = ["a.*.test"]', 'mta_sts_mx = ["192.0.2.1"]', 'mta_sts_mx = ["ann@contoso.test"]',
    ],
)  # fmt: skip
def test_what_cannot_be_published_is_refused_with_its_place(line: str) -> None:
    with pytest.raises(Invalid) as found:
        compiled(f'[[accepted_domain]]\ndomain_name = "a.test"\n{line}\n[[organisation]]\nname = "x"\n')
    assert [problem.line for problem in found.value.problems] == [3]
    assert line.split(" ")[0] in found.value.problems[0].path


def test_where_reports_go() -> None:
    assert report_record(()) == ""
    assert report_record(("tls@a.test", "b@b.test")) == "v=TLSRPTv1; rua=mailto:tls@a.test,mailto:b@b.test"
    assert report_record(("a,b;c!d%@a.test",)) == "v=TLSRPTv1; rua=mailto:a%2Cb%3Bc%21d%25@a.test"


def test_one_label_stands_for_a_star() -> None:
    assert is_covered("a.b.test", ("*.b.test",)) and is_covered("mx.test", ("mx.test",))
    assert not is_covered("b.test", ("*.b.test",)) and not is_covered("a.a.b.test", ("*.b.test",))
