"""Reports are found in whatever carries them; what cannot be read says why, and nothing else is lost with it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.reports.aggregate import AggregateReport, Published, Row, read_aggregate
from lockgate.mail.reports.carried import MOST_REPORTS, readings
from lockgate.mail.reports.failure import FailureReport, read_failure, write_feedback
from lockgate.mail.reports.letter import Address, aggregate_letter, failure_letter, packed_report
from lockgate.mail.reports.packed import BadReport

FIXTURES = Path(os.environ.get("LOCKGATE_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "fixtures"))
FOLDER = FIXTURES / "reports" / "parsedmarc"
there = pytest.mark.skipif(not FOLDER.exists(), reason="the published reports are not here (LOCKGATE_FIXTURES)")

BAD = {"invalid_xml.xml": "the XML is broken", "empty.xml": "there is no report in it"}
"""Those of the published files that are no reports, and what is said of them."""

ADDRESS = Address("0192-id", "dmarc@us.test", 'Us "<&> Co\r\nBcc: x', "rua@d.test", "mx.us.test", 1_760_000_000.0)
REPORT = AggregateReport(
    "Us Co", "dmarc@us.test", "20370.ab", 1_759_968_000, 1_760_054_399, Published("d.test", "reject"),
    (Row("192.0.2.1", 3, "reject", "fail", "fail", "d.test"),),
)  # fmt: skip
FAILURE = FailureReport(
    "", "", "auth-failure", "d.test", "192.0.2.9", "dmarc", "reject", "~00ff@x.test", "Thu, 9 Oct 2025 08:53:20 +0000",
    "none", results="dmarc=fail header.from=d.test", agent="Lockgate", headers=(("From", "~00ff@d.test"),),
)  # fmt: skip


def published() -> list[Path]:
    return sorted(path for path in FOLDER.rglob("*") if path.is_file())


@there
@pytest.mark.parametrize("path", published(), ids=lambda path: path.name[-40:])
def test_every_published_report_is_read_or_refused_in_words(path: Path) -> None:
    (reading,) = readings(path.read_bytes())
    if path.name in BAD:
        assert reading.why.startswith(BAD[path.name])
        return
    assert not reading.why
    if "failure" in path.parts:
        assert reading.failure is not None
        assert reading.failure.source and reading.failure.headers and reading.failure.report_id
    elif "smtp_tls" in path.parts:
        assert reading.tls is not None and reading.tls.policies
    else:
        assert reading.aggregate is not None and reading.aggregate.rows and not reading.aggregate.problems


def letter() -> bytes:
    return aggregate_letter(REPORT, packed_report(REPORT, "Lockgate"), ADDRESS, 3)


def test_our_letters_are_read_as_they_were_written() -> None:
    (reading,) = readings(letter())
    assert reading.aggregate is not None
    assert reading.aggregate.rows == REPORT.rows
    assert reading.part == "mx.us.test!d.test!1759968000!1760054399!20370.ab.xml.gz"
    (reading,) = readings(failure_letter(FAILURE, ADDRESS))
    assert reading.failure is not None
    assert (reading.failure.domain, reading.failure.source, reading.failure.mail_from) == (
        "d.test", "192.0.2.9", "~00ff@x.test",
    )  # fmt: skip
    assert reading.failure.headers == FAILURE.headers
    assert reading.failure.reporter == "us.test"


def test_nothing_a_stranger_says_breaks_a_letter() -> None:
    evil = "x\r\nBcc: y\r\n\r\n--boundary\x1b[2J" + "z" * 2000
    failure = FailureReport("", "", "auth-failure", evil, evil, evil, evil, evil, evil, headers=((evil, evil),) * 3)
    hostile = AggregateReport(evil, evil, evil, 1, 2, Published(evil), (Row("192.0.2.1", 1, evil, evil, evil, evil),))
    for content in (
        failure_letter(failure, ADDRESS),
        aggregate_letter(hostile, packed_report(hostile, evil), ADDRESS, 1),
    ):
        head = content.partition(b"\r\n\r\n")[0].split(b"\r\n")
        assert not [line for line in head if line.lower().startswith(b"bcc")]
        assert content.isascii() and b"\x1b" not in content
        assert max(len(line) for line in content.split(b"\r\n")) <= 998
        assert b"\n" not in content.replace(b"\r\n", b"")


def wrapped(*parts: bytes) -> bytes:
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return b'From: x@y.test\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n' + body + b"--b--\r\n"


def part(data: bytes, kind: bytes = b"application/octet-stream") -> bytes:
    import base64

    encoded = base64.encodebytes(data).replace(b"\n", b"\r\n")
    return b"Content-Type: " + kind + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded


def test_one_bad_part_does_not_hide_the_others() -> None:
    good = packed_report(REPORT, "x")
    found = readings(wrapped(part(b"nonsense"), part(good, b"application/gzip"), b"Content-Type: text/plain\r\n\r\nhi"))
    assert [bool(one.aggregate) for one in found] == [False, True]
    assert found[0].why


def test_a_report_that_was_passed_on_as_an_attachment_is_found() -> None:
    (reading,) = readings(wrapped(b"Content-Type: message/rfc822\r\n\r\n" + letter()))
    assert reading.aggregate is not None


def test_a_container_in_a_container_is_not_opened() -> None:
    (reading,) = readings(gzip.compress(packed_report(REPORT, "x")))
    assert reading.why


def test_many_attachments_are_not_all_read() -> None:
    found = readings(wrapped(*[part(packed_report(REPORT, "x"), b"application/gzip")] * 50))
    assert sum(1 for one in found if one.aggregate is not None) == MOST_REPORTS
    assert "only the first" in found[-1].why
    nothing = readings(wrapped(*[b"Content-Type: text/plain\r\n\r\nx"] * 1000))
    assert [one.why for one in nothing] == ["only the first 200 parts were looked at"]


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x1f\x8b", b"PK\x03\x04", b"<", b"{", b"Content-Type: "]))
def test_any_octets_are_answered(octets: bytes, start: bytes) -> None:
    assert readings(start + octets)


@given(st.binary(max_size=200))
def test_any_feedback_is_read_or_refused(octets: bytes) -> None:
    try:
        report = read_failure(b"Feedback-Type: auth-failure\r\n" + octets, octets, "x.test", "<1@x>")
    except BadReport:
        return
    assert report.domain.isprintable()
    write_feedback(report).decode("ascii")


def test_what_is_written_by_us_is_packed_the_same_each_time() -> None:
    assert packed_report(REPORT, "x") == packed_report(REPORT, "x")
    assert read_aggregate(packed_report(REPORT, "x")).rows == REPORT.rows
