"""A keeper process for the crash tests: `keeper_child.py STATE [POINT]`; at POINT it kills itself."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from lockgate.storage import days, keeper, ledger, upkeep
from lockgate.storage.lanes import Pace


class WallClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class Quiet:
    def note(self, happening: str, **details: object) -> None:
        pass

    def alarm(self, happening: str, **details: object) -> None:
        print("ALARM", happening, details, file=sys.stderr, flush=True)


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: type, name: str, nth: int) -> None:
    """Die at the nth call of this method, before it does anything."""
    real, calls = getattr(owner, name), [0]

    def method(self, *given, **named):
        calls[0] += 1
        if calls[0] >= nth:
            die()
        return real(self, *given, **named)

    setattr(owner, name, method)


POINTS = {
    "before-sync": lambda: before(keeper.Live, "sync", 30),
    "before-begin": lambda: before(ledger.Ledger, "begin", 30),
    "before-flush": lambda: before(ledger.Ledger, "flush", 60),
    "before-commit": lambda: before(ledger.Ledger, "commit", 30),
    "before-answer": lambda: before(keeper.Keeper, "_tell", 30),
    "before-unlink": lambda: before(keeper.Live, "unlink_dead", 30),
    "between-copy-and-removal": lambda: before(days.DayFiles, "_take_away", 2),
    "before-moved-bodies-are-referred-to": lambda: before(upkeep.Upkeep, "_refer", 1),
}

if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[2]:
        POINTS[sys.argv[2]]()
    settings = keeper.KeeperSettings(
        Path(sys.argv[1]), Pace(steps=(0.2, 0.5)), settle=0.3, upkeep_every=0.2, idle_delay=0.005
    )
    keeper.run(settings, WallClock(), Quiet())
