"""Lockgate with one stage more, as quarantine will be one: it holds recipients by the beginning of their names.

`held...` waits for a person; `asked...` waits until the file in LOCKGATE_TEST_ANSWER is there. Run like `-m lockgate`.
"""

from __future__ import annotations

import os
from pathlib import Path

from lockgate.__main__ import main
from lockgate.decision import dispose, judge
from lockgate.decision.stage import RecipientStage, decided
from lockgate.mail.facts import Point
from lockgate.mail.ruling import Hit, Hold, Step

ANSWER = Path(os.environ.get("LOCKGATE_TEST_ANSWER", "/nowhere"))


def hold(policy, facts, ruling, verdict, depth):
    name = verdict.recipient.original.local
    if name.startswith("held"):
        return decided(verdict, Hold("the test holds this"), Step("test", "name", Hit.YES, f"it is {name}", "held"))
    if name.startswith("asked") and not ANSWER.exists():
        return decided(verdict, Hold("nobody has answered", pending=True), Step("test", "answer", Hit.UNKNOWN, "none"))
    return verdict


def install() -> None:
    stages = judge.RECIPIENT_STAGES
    at = stages.index(dispose.STAGE)
    judge.RECIPIENT_STAGES = stages = (*stages[:at], RecipientStage("test", Point.DATA, hold), *stages[at:])
    judge._RECIPIENT_UNTIL = tuple(sum(stage.point <= point for stage in stages) for point in Point)
    judge._DISPOSE = stages.index(dispose.STAGE)


if __name__ == "__main__":
    install()
    main()
