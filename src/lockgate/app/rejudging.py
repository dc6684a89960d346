"""Judges recorded mail by another policy in a process of its own, so that nobody who handles mail waits for it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile, read_config
from lockgate.app.garbage import search_seldom
from lockgate.app.local import known_here
from lockgate.app.policies import NoPolicy, Policies, Revision
from lockgate.app.srs_key import ways_back_of
from lockgate.flow.replay import Comparison, Job, Progress
from lockgate.mail.record import Kept, Recorder
from lockgate.mail.redaction import Kept as Wish
from lockgate.policy.policy import Policy
from lockgate.policy.problems import Invalid
from lockgate.storage.kept import KeptFile
from lockgate.storage.stories import count_since, stories_since

TELL = 0.5
"""Seconds between two words on how far it is."""

MEANWHILE = 200
"""Stories between two looks at the clock."""

_NICE = 10
_PR_SET_PDEATHSIG = 1
SOURCE = Path(__file__).resolve().parents[2]


class Trouble(msgspec.Struct, frozen=True, tag="trouble"):
    """It cannot be done, because."""

    because: str


class So(msgspec.Struct, frozen=True, tag="so"):
    """How it stands."""

    progress: Progress


Said = So | Trouble


class Materials:
    """What judging again needs of an installation; everything is read only."""

    def __init__(self, config: OperatorFile) -> None:
        clock, said = SystemClock(), config.trace
        self.ask = known_here(config, clock, ways_back_of(config))
        self.queue = config.queue_directory / "keeper.sqlite"
        self.trace = config.state_directory / "trace"
        self.recorder = Recorder()
        self._policies = Policies(
            config.state_directory / "policy", config.hostname, config.policy_directory,
            keeps_mailboxes=config.mailboxes.kept,
        )  # fmt: skip
        self._lives = KeptFile(config.kept_file, Wish(said.retention, said.facts and said.masking == "none"))

    def policy(self, documents: Mapping[str, str] | None, revision: int) -> Policy:
        """The policy of these texts, or of a revision. Raises NoPolicy, Invalid."""
        meant = Revision(0, 0.0, "", dict(documents)) if documents is not None else self._policies.at(revision)
        return self._policies.compile(meant, advise=False)

    def may_judge(self, kept: Kept) -> bool:
        """Whether its organisation lets facts be used after the message."""
        return self._lives(kept.organisation).facts


def replays(materials: Materials, job: Job) -> Iterator[Progress]:
    """How it stands, now and then, and at last the result. Raises NoPolicy, Invalid."""
    policy = materials.policy(job.documents, job.revision)
    of = count_since(materials.queue, materials.trace, job.since)
    comparison, told, number = Comparison(policy, materials.ask, materials.recorder), time.monotonic(), 0
    found = comparison.found
    for number, kept in enumerate(stories_since(materials.queue, materials.trace, job.since)):
        if job.organisation not in ("", kept.organisation) or not materials.may_judge(kept):
            continue
        if found.messages >= job.limit and not comparison.goes_on(kept):
            break
        comparison.look(kept)
        if number % MEANWHILE == 0 and time.monotonic() - told >= TELL:
            told = time.monotonic()
            yield Progress(found.messages, of)
    yield Progress(found.messages, max(of, found.messages), found.told())


def alone(niceness: int) -> None:
    """Let everybody else go first, and end with the process that began us."""
    search_seldom()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(niceness)


def environment() -> dict[str, str]:
    """What such a process is begun with."""
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(SOURCE), "LC_ALL": "C.UTF-8"}


def main(arguments: Sequence[str]) -> int:
    """Read a job (JSON) from standard input and say on standard output, line by line, how it stands."""
    alone(_NICE)
    try:
        job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
        for progress in replays(Materials(read_config(Path(arguments[0]))), job):
            _say(So(progress))
    except (OSError, NoPolicy, Invalid) as trouble:
        _say(Trouble(str(trouble)))
    return 0


def _say(said: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
