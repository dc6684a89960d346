"""Judges live mail by the draft in the shadow, in a process of its own that everybody else goes before.

It reads what was recorded once mail is durable; a worker knows nothing of it and never waits for it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile, read_config
from lockgate.app.policies import NoPolicy
from lockgate.app.rejudging import Materials, alone
from lockgate.flow.replay import Comparison
from lockgate.flow.shadow import Draft, ShadowTally, judge_share
from lockgate.policy.problems import Invalid
from lockgate.seams import Unavailable
from lockgate.storage.shadow_shelf import ShadowFiles
from lockgate.storage.stories import Mark, newest, stories_after

LOOK = 0.5
"""Seconds between two looks at what came."""

MOST_WAITING = 20_000
"""Messages, and refusals, that may wait to be judged; older ones are passed over and counted."""

SLICE = 100
"""Stories judged before somebody else may have the processor."""

_NICE = 15


class ShadowShelf:
    """Implements flow.desk.shadow.Shelf over files."""

    def __init__(self, config: OperatorFile) -> None:
        self._files = ShadowFiles(config.state_directory / "shadow")
        self._queue = config.queue_directory / "keeper.sqlite"
        self._trace = config.state_directory / "trace"

    def draft(self) -> Draft | None:
        """See Shelf. A draft that cannot be read any more is none."""
        try:
            data = self._files.draft()
            return msgspec.json.decode(data, type=Draft) if data is not None else None
        except OSError as trouble:
            raise Unavailable(f"the draft in the shadow cannot be read: {trouble}") from None
        except msgspec.MsgspecError:
            return None

    def put(self, draft: Draft) -> None:
        """See Shelf. What comes from now on is judged, although the process begins a moment later."""
        try:
            mark = newest(self._queue, self._trace)
            self.keep(ShadowTally(draft.at, mark.message, mark.refusal))
            self._files.put_draft(msgspec.json.encode(draft))
        except OSError as trouble:
            raise Unavailable(f"the draft cannot be kept: {trouble}") from None

    def clear(self) -> None:
        """See Shelf."""
        try:
            self._files.clear()
        except OSError as trouble:
            raise Unavailable(f"the draft cannot be removed: {trouble}") from None

    def tally(self) -> ShadowTally | None:
        """See Shelf."""
        try:
            data = self._files.tally()
            return msgspec.json.decode(data, type=ShadowTally) if data is not None else None
        except (OSError, msgspec.MsgspecError):
            return None

    def keep(self, tally: ShadowTally) -> None:
        """Keep what was found. Raises OSError."""
        self._files.put_tally(msgspec.json.encode(tally))

    def stamp(self) -> tuple[int, int]:
        """Changes when the draft does; costs one stat."""
        return self._files.stamp()


class Shadow:
    """One draft being judged; goes on where the last process that judged it stopped."""

    def __init__(self, materials: Materials, shelf: ShadowShelf, draft: Draft) -> None:
        self._materials, self._shelf, self._draft = materials, shelf, draft
        tally = shelf.tally()
        if tally is None or tally.begun != draft.at:
            mark = newest(materials.queue, materials.trace)
            tally = ShadowTally(draft.at, mark.message, mark.refusal)
            shelf.keep(tally)
        self.tally = tally
        self._comparison: Comparison | None = None
        self._clock = SystemClock()

    def compile(self) -> None:
        """Raises Invalid if today's code refuses the draft."""
        policy = self._materials.policy(self._draft.documents, 0)
        self._comparison = Comparison(policy, self._materials.ask, self._materials.recorder, self.tally.compared)

    def step(self) -> bool:
        """Judge some of what came since; whether there was any. Raises OSError."""
        comparison, tally = self._comparison, self.tally
        if comparison is None:
            return False
        until = newest(self._materials.queue, self._materials.trace)
        mark = self._without_the_oldest(Mark(tally.message, tally.refusal), until)
        kept, mark = stories_after(self._materials.queue, self._materials.trace, mark, until)
        if mark == (tally.message, tally.refusal):
            return False
        mine = [one for one in kept if self._materials.may_judge(one)]
        for first in range(0, len(mine), SLICE):
            began = time.monotonic()
            judged = judge_share(comparison, tally, mine[first : first + SLICE], self._draft.share)
            if judged and len(mine) > SLICE:  # half of one processor at most, however much waits
                time.sleep(time.monotonic() - began)
        tally.message, tally.refusal, tally.at = mark.message, mark.refusal, self._clock.now()
        self._shelf.keep(tally)
        return True

    def _without_the_oldest(self, mark: Mark, until: Mark) -> Mark:
        """The mark, moved on if too much waits behind it; what is passed over is counted."""
        message = max(mark.message, until.message - MOST_WAITING)
        refusal = max(mark.refusal, until.refusal - MOST_WAITING)
        self.tally.dropped += message - mark.message + refusal - mark.refusal
        return Mark(message, refusal)

    def give_up(self, because: str) -> None:
        """Say why nothing is judged."""
        self.tally.trouble = because
        self._shelf.keep(self.tally)


def follow(config: OperatorFile) -> int:
    """Judge for as long as the draft is in the shadow."""
    materials, shelf = Materials(config), ShadowShelf(config)
    stamp, draft = shelf.stamp(), shelf.draft()
    if draft is None:
        return 0
    shadow = Shadow(materials, shelf, draft)
    try:
        shadow.compile()
    except (Invalid, NoPolicy) as trouble:
        shadow.give_up(f"the draft cannot be compiled any more: {trouble}")
        while shelf.stamp() == stamp:
            time.sleep(LOOK)
        return 0
    shadow.tally.trouble = ""
    while shelf.stamp() == stamp:
        if not shadow.step():
            time.sleep(LOOK)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Follow live mail; `arguments` names the operator's file."""
    alone(_NICE)
    return follow(read_config(Path(arguments[0])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
