"""Who wants TLS reports (RFC 8460 3)."""

from __future__ import annotations

import pytest

from lockgate.probes.trust.tls_report_destinations import MOST, TlsReportDestinations, read_destinations
from lockgate.seams import DnsTemporary
from lockgate.testing.dns import ZoneResolver


def told(record: str) -> list[tuple[str, bool]]:
    return [(one.address, not one.refused) for one in read_destinations(record)]


def test_what_a_record_names() -> None:
    assert told("v=TLSRPTv1; rua=mailto:tls@d.test") == [("tls@d.test", True)]
    assert told("v=TLSRPTv1;rua=https://d.test/x?y=1,mailto:a%2Bb@d.test ; ext=1;") == [
        ("https://d.test/x?y=1", True), ("a+b@d.test", True),
    ]  # fmt: skip
    assert told("v=TLSRPTv1; RUA=MAILTO:a@d.test?subject=x") == [("a@d.test", True)]
    for nothing in ("v=TLSRPTv1", "v=TLSRPTv1; rua=", "v=TLSRPTv1; rua=,,"):
        assert told(nothing) == []
    odd = ("http://d.test/", "ftp://d.test", "mailto:nobody", "https://", "https://[x", "https:// d.test", "x")
    for refused in odd:
        assert told(f"v=TLSRPTv1; rua={refused}")[0][1] is False, refused
    assert "\x1b" not in told("v=TLSRPTv1; rua=x\x1b[31m")[0][0]
    assert len(told("v=TLSRPTv1; rua=" + ",".join(["mailto:a@d.test"] * 50))) == MOST


async def test_where_the_record_lies() -> None:
    def asking(*texts: str, **more: object) -> TlsReportDestinations:
        return TlsReportDestinations(ZoneResolver(texts={"_smtp._tls.d.test": texts}, **more))  # type: ignore[arg-type]

    one = "v=TLSRPTv1; rua=mailto:a@d.test"
    assert [d.address for d in await asking("other", one)("d.test")] == ["a@d.test"]
    assert await asking(one, one)("d.test") == (), "two records are as good as none"
    assert await asking("v=TLSRPTv2; rua=mailto:a@d.test")("d.test") == ()
    assert await asking()("elsewhere.test") == ()
    with pytest.raises(DnsTemporary):
        await asking(one, silent=["_smtp._tls.d.test"])("d.test")
