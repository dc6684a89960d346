"""Replays under way in the desk's process: each in a process of its own, asked after, and ended when nobody asks."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import time
from pathlib import Path

import msgspec

from lockgate.app.rejudging import Said, So, Trouble, environment
from lockgate.flow.desk.section import Misuse, Nothing
from lockgate.flow.replay import Job, Progress
from lockgate.seams import Unavailable

MOST = 2
"""Replays at the same time; each takes a processor, if there is one to spare."""

PATIENCE = 60.0
"""Seconds after which a replay that nobody asks after is ended, and a result forgotten."""

_LONGEST_LINE = 64 * 1024 * 1024
_SAID: msgspec.json.Decoder[Said] = msgspec.json.Decoder(Said)


class _Running:
    """One replay."""

    def __init__(self, job: Job, named: str) -> None:
        self.job, self.named = job, named
        self.progress = Progress(0, 0)
        self.trouble = ""
        self.over = asyncio.Event()
        self.asking = 0
        self.asked_at = time.monotonic()
        self.task: asyncio.Task[None] | None = None

    @property
    def forgotten(self) -> bool:
        return not self.asking and time.monotonic() - self.asked_at > PATIENCE


class ReplayRoom:
    """Implements flow.desk.replays.Replayer. `config` is the operator's file."""

    def __init__(self, config: Path) -> None:
        self._config = config.resolve()
        self._jobs: dict[str, _Running] = {}

    async def begin(self, job: Job, named: str) -> str:
        """See Replayer."""
        self._jobs = {name: one for name, one in self._jobs.items() if not one.forgotten}
        if sum(not one.over.is_set() for one in self._jobs.values()) >= MOST:
            raise Misuse(f"{MOST} replays are under way already; try again when one of them is over")
        running = _Running(job, named)
        running.task = asyncio.ensure_future(self._run(running))
        name = secrets.token_hex(8)
        self._jobs[name] = running
        return name

    async def look(self, job: str, wait: float | None) -> tuple[str, Job, Progress]:
        """See Replayer."""
        running = self._jobs.get(job)
        if running is None:
            raise Nothing("there is no such replay; it may have been ended, because nobody asked after it")
        running.asking += 1
        try:
            async with asyncio.timeout(wait):
                await running.over.wait()
        except TimeoutError:
            pass
        finally:
            running.asking -= 1
            running.asked_at = time.monotonic()
        if running.trouble:
            raise Unavailable(running.trouble)
        return running.named, running.job, running.progress

    async def close(self) -> None:
        """End what is under way."""
        tasks = [one.task for one in self._jobs.values() if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, running: _Running) -> None:
        try:
            await self._read(running)
            if running.progress.result is None and not running.trouble:
                running.trouble = "the replay ended before it was over"
        except Exception as trouble:
            running.trouble = f"recorded mail cannot be judged: {trouble}"
        finally:
            running.over.set()

    async def _read(self, running: _Running) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "lockgate.app.rejudging", str(self._config),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env=environment(), cwd="/", limit=_LONGEST_LINE,
        )  # fmt: skip
        try:
            if process.stdin is None or process.stdout is None:
                raise OSError("there are no pipes")
            process.stdin.write(msgspec.json.encode(running.job))
            await process.stdin.drain()
            process.stdin.close()
            while line := await process.stdout.readline():
                match _SAID.decode(line):
                    case So(progress):
                        running.progress = progress
                    case Trouble(because):
                        running.trouble = f"recorded mail cannot be judged: {because}"
                if running.forgotten:
                    running.trouble = "nobody asked after this replay any more, so it was ended"
                    return
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
