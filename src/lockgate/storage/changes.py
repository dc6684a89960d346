"""Which trace rows have changed lately, for those who follow the trace; kept in memory, told after the commit."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable

KEPT = 50_000
"""Changes remembered; whoever is further behind looks at the rows themselves."""


class Changes:
    """Numbers of changed rows, batch by batch. `epoch` names this memory: another keeper has another one."""

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(4)
        self._batches: deque[tuple[int, list[int]]] = deque()
        self._gathered: list[int] = []
        self._newest = 0
        self._count = 0

    def note(self, numbers: Iterable[int]) -> None:
        """These rows are different once the transaction is committed."""
        self._gathered += numbers

    def committed(self) -> None:
        """What was noted is durable."""
        if not self._gathered:
            return
        self._newest += 1
        self._batches.append((self._newest, self._gathered))
        self._count += len(self._gathered)
        self._gathered = []
        while self._count > KEPT and len(self._batches) > 1:
            self._count -= len(self._batches.popleft()[1])

    def forget(self) -> None:
        """The transaction failed."""
        self._gathered = []

    def since(self, epoch: str, batch: str) -> tuple[str, int, list[int] | None]:
        """This epoch, the newest batch, and what has changed after the given one; None if that is not known."""
        if epoch != self.epoch or not batch.isdigit():
            return self.epoch, self._newest, None
        after, oldest = int(batch), self._batches[0][0] if self._batches else self._newest + 1
        if after > self._newest or (after < oldest - 1):
            return self.epoch, self._newest, None
        changed = dict.fromkeys(n for number, numbers in self._batches if number > after for n in numbers)
        return self.epoch, self._newest, [*changed]
