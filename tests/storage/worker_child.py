"""A worker process for the crash tests: accepts and delivers, and says on standard output what was promised.

`worker_child.py STATE SLOT COUNT`: prints `A id` after each accept, `F task` after each finish, `T task` per
task handed over. COUNT 0: only takes what it is given. The lines are written at once, so that a kill loses none.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

import uvloop

from contracts.spools import HQ, delivered, message
from lockgate.mail.task import Finished
from lockgate.seams import Unavailable
from lockgate.storage.client import KeeperSpool, SpoolSettings
from storage.keeper_child import Quiet, WallClock


def say(letter: str, what: object) -> None:
    os.write(1, f"{letter} {what}\n".encode())


async def main(state: Path, slot: int, count: int) -> None:
    spool = KeeperSpool(SpoolSettings(state, slot, low_space=0, segment_size=1024 * 1024), WallClock(), Quiet())
    chance = random.Random(slot + 1)

    def finish(task: int) -> None:
        say("O", task)
        spool.finish(Finished(task, (delivered(0, time.time()),)))
        say("F", task)

    def take(tasks) -> None:
        for task in tasks:
            say("T", task.task)
            asyncio.get_running_loop().call_later(chance.random() * 0.02, finish, task.task)

    spool.receive_with(take)
    await spool.open()
    say("R", slot)

    async def send() -> None:
        for _ in range(count // 10):
            try:
                body = spool.begin(b"")
                body.write(os.urandom(chance.randrange(100, 5000)))
                ref = body.finish()
                new = message(time.time(), ref, body.size, ("bob",), HQ, name=os.urandom(16).hex())
                accepted = await spool.accept(new)
            except Unavailable:
                await asyncio.sleep(0.02)
                continue
            say("A", new.id)
            for task, owned in accepted.tasks:
                if owned:
                    say("T", task)
                    asyncio.get_running_loop().call_later(chance.random() * 0.05, finish, task)

    await asyncio.gather(*[send() for _ in range(10)])
    say("D", slot)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
