"""Reports go where the domain says, and only to places that agree (RFC 9990 4)."""

from __future__ import annotations

import pytest

from lockgate.mail.dmarc import published, read_published, read_record
from lockgate.mail.reports.destination import Destination
from lockgate.probes.trust.report_destinations import ReportDestinations
from lockgate.seams import DnsTemporary
from lockgate.testing.dns import ZoneResolver

YES = "v=DMARC1"


def zone(rua: str, *, silent: tuple[str, ...] = ()) -> ReportDestinations:
    texts = {"_dmarc.d.test": [f"v=DMARC1; p=none; rua={rua}; ruf=mailto:f@d.test"]}
    return ReportDestinations(ZoneResolver(texts=texts, silent=silent))


async def test_the_domain_itself_and_its_organisation_need_no_consent() -> None:
    found = await zone("mailto:a@d.test,mailto:b@sub.d.test").aggregate("d.test")
    assert found == (Destination("a@d.test"), Destination("b@sub.d.test"))
    assert await zone("mailto:a@d.test").failure("d.test") == (Destination("f@d.test"),)


async def test_others_have_to_agree() -> None:
    found = await zone("mailto:a@other.test").aggregate("d.test")
    assert "other.test does not agree" in found[0].refused
    record = "v=DMARC1; p=none; rua=mailto:a@other.test"
    resolver = ZoneResolver(texts={"_dmarc.d.test": [record], "d.test._report._dmarc.other.test": [YES]})
    assert await ReportDestinations(resolver).aggregate("d.test") == (Destination("a@other.test"),)


@pytest.mark.parametrize(
    ("consent", "expected"),
    [
        ("v=DMARC1; rua=mailto:b@other.test", Destination("b@other.test")),
        ("v=DMARC1; rua=mailto:b@other.test!1m", Destination("b@other.test", 1 << 20)),
        ("v=DMARC1; rua=mailto:b@victim.test", None),
        ("v=spf1 -all", None),
        ("V=dmarc1", None),
    ],
)
async def test_what_the_destination_says(consent: str, expected: Destination | None) -> None:
    resolver = ZoneResolver(
        texts={
            "_dmarc.d.test": ["v=DMARC1; p=none; rua=mailto:a@other.test"],
            "d.test._report._dmarc.other.test": [consent],
        }
    )
    (found,) = await ReportDestinations(resolver).aggregate("d.test")
    if expected is None:
        assert found.refused
    else:
        assert found == expected


async def test_dns_that_fails_is_no_answer() -> None:
    with pytest.raises(DnsTemporary):
        await zone("mailto:a@other.test", silent=("d.test._report._dmarc.other.test",)).aggregate("d.test")
    with pytest.raises(DnsTemporary):
        await zone("mailto:a@d.test", silent=("_dmarc.d.test",)).aggregate("d.test")


async def test_a_record_that_is_gone_wants_nothing() -> None:
    assert await ReportDestinations(ZoneResolver(texts={"x.test": ["y"]})).aggregate("d.test") == ()


async def test_odd_addresses() -> None:
    rua = "mailto:a@[192.0.2.1],mailto:@d.test,https://d.test/x,mailto:ok@d.test!10m,mailto:b@d.test?subject=x"
    found = await zone(rua).aggregate("d.test")
    assert [one.address for one in found if not one.refused] == ["ok@d.test", "b@d.test"]
    assert [one.limit for one in found if one.address == "ok@d.test"] == [10 << 20]


async def test_a_name_that_cannot_be_is_not_asked_for() -> None:
    long = ".".join(["a" * 60] * 3) + ".test"
    resolver = ZoneResolver(texts={f"_dmarc.{long}": [f"v=DMARC1; p=none; rua=mailto:a@{'b' * 60}.test"]})
    (found,) = await ReportDestinations(resolver).aggregate(long)
    assert "does not agree" in found.refused


async def test_at_most_five() -> None:
    rua = ",".join(f"mailto:a{n}@d.test" for n in range(9))
    assert len(await zone(rua).aggregate("d.test")) == 5


@pytest.mark.parametrize(
    "text",
    [
        "v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s; aspf=s; t=y; fo=1:d:s", "v=DMARC1; p=none",
        "v=DMARC1", "v=DMARC1; p=reject; rua=mailto:a@b.test!5m,mailto:c@d.test",
    ],
)  # fmt: skip
def test_what_is_written_down_of_a_record_is_read_back(text: str) -> None:
    record = read_record(text)
    assert record is not None
    read = read_published(published(record))
    assert published(read) == published(record)
    for name in ("policy", "subdomains", "absent", "strict_dkim", "strict_spf", "testing", "options"):
        assert getattr(read, name) == getattr(record, name), name
