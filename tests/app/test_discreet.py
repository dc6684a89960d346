"""Log lines hide what the organisation of the line wants hidden; the secret for it is made once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from lockgate.app.discreet import DiscreetJournal, trace_key
from lockgate.flow.privacy import Privacy, Wishes
from lockgate.mail.redaction import Kept, Masking
from lockgate.testing.builders import policy_of
from lockgate.testing.journal import ListJournal

POLICY = """
[[organisation]]
name = "open"
[[organisation]]
name = "closed"
trace_masking = "all"
trace_retention = "7d"
hold_retention = "2d"
[[organisation]]
name = "terse"
trace_subjects = false
trace_facts = false
"""


def privacy(**wishes):
    policy = policy_of(POLICY)
    return Privacy(lambda: policy, Wishes(**wishes), b"k" * 32), policy


def test_lines_are_hidden_by_organisation_or_lane():
    journal = ListJournal()
    discreet = DiscreetJournal(journal, privacy()[0].redactor)
    discreet.note("delivered", lane="closed/hq", to="bob@x.test", reply="250 <bob@x.test> ok", relay="hq", delay=1.5)
    discreet.note("delivered", lane="open/hq", to="bob@x.test")
    discreet.note("accepted", organisation="open,closed", sender="ann@x.test", recipients=2)
    discreet.alarm("unforeseen", trouble=ValueError("bob@x.test is odd"))
    discreet.note("policy taken up", revision=4)
    hidden, plain, shared, nobodys, other = (details for _, details in journal.notes)
    assert "bob" not in repr(hidden) and hidden["delay"] == 1.5 and hidden["relay"] == "hq"
    assert plain["to"] == "bob@x.test" and "ann" not in repr(shared) and shared["recipients"] == 2
    assert "bob" not in repr(nobodys) and "is odd" in nobodys["trouble"] and other == {"revision": 4}
    assert [happening for happening, _ in journal.alarms] == ["unforeseen"]


def test_wishes_come_from_the_organisation_and_then_from_the_operator():
    asked, policy = privacy(retention=9.0, hold=5.0)
    assert asked("open") == Kept(9.0) and asked("closed") == Kept(7 * 86400.0, facts=False)
    assert asked("terse") == Kept(9.0, facts=False) and asked("gone") == Kept(9.0)
    assert asked.redactor("open") is None and asked.redactor("closed").masking is Masking.ALL
    assert not asked.redactor("terse").subjects and asked.redactor("gone") is None
    assert asked.redactor("").masking is Masking.ALL, "nobody's rows are kept as the strictest wish"
    assert asked.hold_life(policy, "closed") == 2 * 86400 and asked.hold_life(policy, "open") == 5.0
    asked, _ = privacy(masking=Masking.LOCAL_PARTS, facts=False)
    assert asked.redactor("open").masking is Masking.LOCAL_PARTS and not asked("open").facts
    assert asked.redactor("gone").masking is Masking.LOCAL_PARTS
    assert set(asked.wishes()) == {"open", "closed", "terse"}


def test_the_secret_is_made_once_and_only_for_us(tmp_path):
    path = tmp_path / "state" / "trace.key"
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(lambda _: trace_key(path), range(16)))
    assert len(keys) == 1 and path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["trace.key"]
    path.write_bytes(b"short")
    with pytest.raises(OSError, match="damaged"):
        trace_key(path)
