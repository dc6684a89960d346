"""Our own reports are resolved and routed, and nobody rules on them."""

from __future__ import annotations

from decision.judging import fates
from decision.test_properties import DIRECTORY, POLICY
from lockgate.decision.system import system_ruling
from lockgate.testing.builders import facts_of, people


def way(recipient: str, organisation: str = "contoso", ask=DIRECTORY) -> list[str]:
    return fates(system_ruling(POLICY, ask, facts_of("", recipient), organisation)[1])


def test_reports_go_by_the_owner_of_the_recipients_domain() -> None:
    assert way("x@sender.test") == ["-> contoso/mx:sender.test x@sender.test"]
    assert way("U@contoso.com") == ["-> contoso/hq u@contoso.com"]
    assert way("u@contoso.com", "fabrikam") == ["-> contoso/hq u@contoso.com"]
    assert way("alias@initial.test") == ["-> contoso/hq u@initial.test"]  # and not by the rule's connector


def test_nothing_keeps_a_report_from_being_sent() -> None:
    silent = people(failing="no answer")
    assert way("u@contoso.com", ask=silent) == ["-> contoso/hq u@contoso.com"]
    assert way("loop@contoso.com") == ["-> contoso/hq loop@contoso.com"]
    assert way("x@sender.test", "an organisation that is gone") == [
        "-> an organisation that is gone/mx:sender.test x@sender.test"
    ]
