"""What one message to a large group costs in milliseconds: judged, planned, its story written, stored.

    python bench/expand.py [MEMBERS]

Each figure is the best of several rounds, on one core, without a service. A message to one recipient stands beside.
"""

from __future__ import annotations

import gc
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from lockgate.decision.judge import judge
from lockgate.flow.commit import Commit
from lockgate.flow.settle import settle
from lockgate.mail.facts import Facts, Point
from lockgate.mail.message import BodyRef
from lockgate.mail.record import Recorder
from lockgate.mail.ruling import Ruling
from lockgate.mail.task import NewMessage
from lockgate.policy.compile import compile_policy
from lockgate.policy.policy import Policy
from lockgate.storage.frames import Accept, What
from lockgate.storage.lanes import Pace
from lockgate.storage.ledger import Ledger
from lockgate.storage.packing import pack_accept
from lockgate.storage.reclaim import Live
from lockgate.storage.segments import SegmentFolder
from lockgate.testing.builders import facts_of, people, who_of

ROUNDS = 7
POLICY = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.test"
vouched_by_operator = true
[[outbound_connector]]
name = "Partners"
recipient_domains = ["*.partner.test"]
"""
_DECODE = msgspec.msgpack.Decoder(Accept).decode
_ENCODE = msgspec.msgpack.Encoder().encode
BODY = BodyRef("segment", 0, 1000, 0)


def best(work: Callable[[], Any]) -> float:
    """Milliseconds, the best of the rounds."""
    found = float("inf")
    for _ in range(ROUNDS):
        gc.collect()
        began = time.perf_counter()
        work()
        found = min(found, time.perf_counter() - began)
    return found * 1000


def packed(new: NewMessage) -> bytes:
    """As it goes to the keeper."""
    whats = [What(new.id, task.route, new.envelope, new.size, task.recipients, task.stamp) for task in new.tasks]
    return _ENCODE(pack_accept(1, new, whats, new.envelope.sender_text))


def stored(payload: bytes) -> Callable[[], None]:
    """The keeper's part: read the frame, write the rows, commit them durably; a fresh message each time."""
    folder = tempfile.TemporaryDirectory(prefix="lockgate-bench-")
    ledger = Ledger(Path(folder.name) / "queue.db", Live(SegmentFolder(Path(folder.name))), Pace())
    numbers = itertools.count(1)

    def store() -> None:
        new = _DECODE(payload)
        ledger.begin(1.0)
        ledger.accept(0, msgspec.structs.replace(new, id=f"message-{next(numbers)}"))
        ledger.commit()

    store.folder = folder  # type: ignore[attr-defined]
    return store


def judged(policy: Policy, facts: Facts, ask: Any) -> tuple[Facts, Ruling]:
    """From RCPT on, as the service does it: the message has come, the group is expanded."""
    early = Facts(facts.at, facts.connection, facts.envelope, facts.recipients)
    early, so_far = settle(judge, ask, policy, early, Point.RCPT)
    whole = Facts(facts.at, facts.connection, facts.envelope, facts.recipients, facts.message, early.findings)
    return settle(judge, ask, policy, whole, Point.DATA, so_far)


def main(members: int) -> None:
    """Print the parts."""
    policy = compile_policy({"bench.toml": POLICY}, hostname="mx.bench.test", revision=1, keeps_mailboxes=True)
    names = [f"user{n}@contoso.test" for n in range(members)]
    everybody = [who_of("contoso", name, kind="mailbox", city="Seattle") for name in names]
    ask = people(*everybody, who_of("contoso", "all@contoso.test", kind="distribution_group"),
                 members={"all@contoso.test": names})  # fmt: skip
    recorder = Recorder()
    commit = Commit(recorder, lambda policy, name: 86400.0, 60.0)
    for named in ("user0@contoso.test", "all@contoso.test"):
        facts = facts_of("x@sender.test", named)
        told, ruling = judged(policy, facts, ask)
        new = commit.message(policy, told, ruling, BODY, 1000, told.at)
        payload = packed(new)
        print(f"\n{named}: {len(ruling.recipients)} recipients, {len(new.tasks)} tasks, {len(new.traces)} trace rows")
        story = best(lambda f=told, r=ruling: recorder.write_story(f, r))
        whole = best(lambda f=told, r=ruling: commit.message(policy, f, r, BODY, 1000, f.at))
        figures = {
            "answer of the directory": best(lambda q=told.findings: ask(tuple(one for one, _ in q.items()))),
            "judge (without the answer)": best(lambda f=told: judge(policy, f)),
            "judge, RCPT and DATA, answers too": best(lambda f=facts: judged(policy, f, ask)),
            "plan (tasks and trace rows)": whole - story,
            "story": story,
            "pack for the keeper": best(lambda n=new: packed(n)),
            "store (the keeper, one fsync)": best(stored(payload)),
        }
        for name, figure in figures.items():
            print(f"{name:40} {figure:10.3f} ms")
        print(f"{'octets to the keeper':40} {len(payload):10d}")
        print(f"{'octets of the story':40} {sum(len(data) for _, data in new.stories):10d}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
