"""What a program wrote is told by the header, and what only looks like it is left alone."""

from __future__ import annotations

import pytest

from lockgate.mail.answers import Sort, by_program

SUPPRESS = ("X-Auto-Response-Suppress", "DR, OOF, AutoReply")


@pytest.mark.parametrize(
    ("fields", "null", "sort"),
    [
        ([("Auto-Submitted", "auto-replied")], False, Sort.REPLY),
        ([("auto-submitted", "Auto-Replied; owner-email=a@b.test")], True, Sort.REPLY),
        ([("Auto-Submitted", "auto-replied (vacation)")], True, Sort.REPLY),
        ([("Auto-Submitted", "auto-generated"), SUPPRESS], True, Sort.REPLY),
        ([("X-Auto-Response-Suppress", "All"), ("Auto-Submitted", "auto-generated")], True, Sort.REPLY),
        # an alarm or an invoice, which wants no answers to itself either, has a sender
        ([("Auto-Submitted", "auto-generated"), SUPPRESS], False, None),
        ([("Auto-Submitted", "auto-generated")], True, None),
        ([("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "NDR, RN")], True, None),
        ([("Auto-Submitted", "no")], True, None),
        ([("Auto-Submitted", "")], True, None),
        ([("Subject", "Automatic reply: hello")], True, None),
        ([SUPPRESS], True, None),
        ([("Content-Type", 'multipart/report; report-type=delivery-status; boundary="x"')], True, Sort.REPORT),
        ([("Content-Type", 'Multipart/Report; boundary=x;\t Report-Type="delivery-status"')], True, Sort.REPORT),
        ([("Auto-Submitted", "auto-replied"), ("Content-Type", "multipart/report; report-type=delivery-status")], True,
         Sort.REPORT),
        ([("Content-Type", "multipart/report; report-type=disposition-notification"),
          ("Auto-Submitted", "auto-replied")], True, None),
        ([("Content-Type", "multipart/report"), ("Auto-Submitted", "auto-replied")], True, None),
        ([("Content-Type", "text/plain; report-type=delivery-status")], True, None),
        ([("X-MS-Exchange-Organization-AutoForwarded", "true")], False, Sort.FORWARD),
        ([("X-MS-Exchange-Organization-AutoForwarded", "false")], False, None),
        ([], True, None),
    ],
)  # fmt: skip
def test_by_the_header(fields: list[tuple[str, str]], null: bool, sort: Sort | None) -> None:
    found = by_program(fields, null_sender=null)
    assert (found.sort if found is not None else None) is sort


def test_hostile_values_cost_little() -> None:
    fields = [("Content-Type", "multipart/report" + ";" * 200_000), ("Auto-Submitted", "a" * 200_000)] * 50
    assert by_program(fields, null_sender=True) is None
