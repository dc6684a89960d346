"""The desk's side of the shadow: begins the process that judges, and begins it again should it end."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

from lockgate.app.rejudging import environment
from lockgate.app.shadowing import ShadowShelf

if TYPE_CHECKING:
    from lockgate.app.office import Office

LOOK = 0.3
"""Seconds between two looks at whether a draft is in the shadow."""

AGAIN = 10.0
"""Seconds until a process that ended in disorder is begun again."""


class ShadowRoom:
    """One process at most, and none where nothing is in the shadow."""

    def __init__(self, office: Office) -> None:
        self._path = office.path.resolve()
        self._journal = office.journal
        self._shelf = ShadowShelf(office.config)

    async def run(self) -> None:
        """Go on for as long as the process lives."""
        while True:
            try:
                code = await self._follow() if self._shelf.stamp() != (0, 0) else 0
            except OSError as trouble:
                self._journal.alarm("the shadow does not judge", because=str(trouble))
                code = 1
            if code:
                self._journal.note("the shadow ended", code=code, because=f"it is begun again in {AGAIN:g} s")
                await asyncio.sleep(AGAIN)
            await asyncio.sleep(LOOK)

    async def _follow(self) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "lockgate.app.shadowing", str(self._path),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            env=environment(), cwd="/",
        )  # fmt: skip
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
