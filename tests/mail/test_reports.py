"""Reports of others are read without harm, ours are read back as they were written."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.reports.aggregate import AggregateReport, Checked, Published, Row, read_aggregate, write_aggregate
from lockgate.mail.reports.packed import LARGEST, BadReport, unpacked
from lockgate.mail.reports.tls import read_tls_report

FIXTURES = Path(os.environ.get("LOCKGATE_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "fixtures"))
FOLDER = FIXTURES / "reports" / "parsedmarc"
there = pytest.mark.skipif(not FOLDER.exists(), reason="the published reports are not here (LOCKGATE_FIXTURES)")

REPORT = AggregateReport(
    "Us <&> Co", "dmarc@us.test", "us.test!d.test!1", 1_760_000_000, 1_760_086_400,
    Published("d.test", "reject", "quarantine", "reject", "s", "r", "n", "treewalk", "1"),
    (
        Row("192.0.2.1", 3, "none", "pass", "fail", "d.test", "m.d.test", "us.test", (("other", "a \"list\" & more"),),
            (Checked("d.test", "pass", "s1"),), (Checked("m.d.test", "fail", scope="mfrom"),)),
        Row("2001:db8::1", 1, "reject", "fail", "fail", "d.test"),
    ),
    contact="https://us.test/?a=1&b=2", errors=("one <error>",),
)  # fmt: skip


def test_what_we_write_is_read_as_it_was():
    assert read_aggregate(write_aggregate(REPORT, "Lockgate")) == REPORT
    assert read_aggregate(gzip.compress(write_aggregate(REPORT, "Lockgate"))) == REPORT


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_breaks_what_we_write(name, comment):
    row = Row("192.0.2.1", 1, "none", "pass", "pass", name, reasons=(("other", comment),))
    made = AggregateReport(name, name, name, 1, 2, Published(name), (row,), errors=(comment,))
    read = read_aggregate(write_aggregate(made, comment))
    assert len(read.rows) == 1 and not read.problems


def zipped(*files: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"<feedback>", b"<x/>", b"<feedback/>", b"\x1f\x8b\x00\x00", gzip.compress(b"x" * 99, mtime=0)[:-6],
        zipped(), zipped(("a", b"x"), ("b", b"y")), b"PK\x03\x04" + b"\0" * 40, zipped(("a.xml", zipped(("b", b"x")))),
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><feedback>&b;</feedback>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><feedback/>', b"<a>" * 5000,
        b'<?xml version="1.0" encoding="utf-99"?><feedback/>', b"<feedback>\xff\xfe</feedback>",
    ],
)  # fmt: skip
def test_what_is_no_report(data):
    with pytest.raises(BadReport):
        read_aggregate(data)


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zipped(("a", data))])
def test_bombs_are_not_unpacked(pack):
    with pytest.raises(BadReport, match="MiB"):
        unpacked(pack(b"\0" * (LARGEST + 2)))


def test_one_bad_record_does_not_hide_the_others():
    text = write_aggregate(REPORT, "x").replace(b"2001:db8::1", b"nowhere")
    read = read_aggregate(text)
    assert len(read.rows) == 1 and "record 2" in read.problems[0]


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"policies": 1}', b"[" * 100_000, b"{", b"nul"])
def test_what_is_no_tls_report(data):
    with pytest.raises(BadReport):
        read_tls_report(data)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=3), max_leaves=9))
def test_odd_values_in_a_tls_report_do_no_harm(value):
    import json

    text = json.dumps({"policies": [value, {"policy": value, "summary": value, "failure-details": value}]})
    assert read_tls_report(text.encode()).policies is not None


@there
@pytest.mark.parametrize("path", sorted(FOLDER.glob("aggregate/*.xml*")), ids=lambda path: path.name[:40])
def test_published_aggregate_reports(path):
    if path.name == "invalid_xml.xml":
        with pytest.raises(BadReport, match="broken"):
            read_aggregate(path.read_bytes())
        return
    read = read_aggregate(path.read_bytes())
    assert read.rows and not read.problems and read.published.domain and read.begin <= read.end
    assert read_aggregate(write_aggregate(read, "x")).rows == read.rows


@there
@pytest.mark.parametrize("name", ["smtp_tls.json", "mail.ru.json"])
def test_published_tls_reports(name):
    read = read_tls_report((FOLDER / "smtp_tls" / name).read_bytes())
    assert read.organisation and read.policies and all(policy.domain for policy in read.policies)
