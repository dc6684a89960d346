"""Orders for tasks that a worker has now: written down when they are given, done when the task comes back.

Who gave such an order has been told that it is done, and so has the trace. So it lies in the database beside the task,
one row a recipient, until it is carried out or the recipient has no task any more; a death in between changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

from lockgate.mail.task import TaskRecipient

_KEEP = "INSERT OR REPLACE INTO standing(task, trace, address, action, who) VALUES(?, ?, ?, ?, ?)"
_DROP = "DELETE FROM standing WHERE task=? AND trace=? AND address=? AND action=?"

Key = tuple[int, str]
"""A recipient of a task: the number of its trace row and its address, for several may share a row."""


class Standing:
    """The orders that stand; empty as long as nobody edits what is under way. Runs in the ledger's transactions."""

    def __init__(self, db: sqlite3.Connection, owned: Collection[int]) -> None:
        """Reads what the database holds; `owned` are the tasks that workers have. Raises sqlite3.Error."""
        self._db = db
        self._orders: dict[int, dict[Key, dict[str, str]]] = {}
        for task, trace, address, action, who in db.execute("SELECT task, trace, address, action, who FROM standing"):
            self._orders.setdefault(task, {}).setdefault((trace, address), {})[action] = who
        self.back = [task for task in self._orders if task not in owned]
        """Tasks with orders that have come back: to be carried out before anybody can take them again."""

    def __contains__(self, task: int) -> bool:
        return task in self._orders

    # -- while the task is away ------------------------------------------------------------------------------------

    def give(
        self, task: int, recipients: Iterable[TaskRecipient], action: str, who: str
    ) -> tuple[TaskRecipient, ...]:
        """Have this done to these recipients; for which of them that is new. Nothing undoes a deletion."""
        orders = self._orders.setdefault(task, {})
        fresh = tuple([r for r in recipients if not {action, "delete"} & orders.get(_key(r), {}).keys()])
        for r in fresh:
            if action == "delete":
                self._drop(task, _key(r), tuple(orders.get(_key(r), ())))
            orders.setdefault(_key(r), {})[action] = who
        self._db.executemany(_KEEP, [(task, *_key(r), action, who) for r in fresh])
        self._tidy(task)
        return fresh

    def take_back(self, task: int, recipients: Iterable[TaskRecipient]) -> tuple[TaskRecipient, ...]:
        """They are not to be held after all; which of them were to be."""
        orders = self._orders.get(task, {})
        held = tuple([r for r in recipients if "hold" in orders.get(_key(r), {})])
        for r in held:
            self._drop(task, _key(r), ("hold",))
        self._tidy(task)
        return held

    # -- when it comes back ----------------------------------------------------------------------------------------

    def came_back(self, task: int) -> None:
        """Nobody carries the task any more."""
        if task in self._orders:
            self.back.append(task)

    def next_of(self, task: int) -> tuple[str, str, Collection[Key]] | None:
        """Take one order (action, by whom, to which recipients) off the task; None if there is no other."""
        orders = self._orders.get(task)
        if not orders:
            return None
        action, who = next(iter(next(iter(orders.values())).items()))
        meant = {key for key, given in orders.items() if given.get(action) == who}
        for key in meant:
            self._drop(task, key, (action,))
        self._tidy(task)
        return action, who, meant

    def move(self, task: int, to: int, recipients: Iterable[TaskRecipient]) -> None:
        """These recipients have a task of their own now, which nobody carries: what is ordered for them goes along."""
        self._hand_over(task, {to: [(_key(r), _key(r)) for r in recipients]})

    def pass_on(
        self, task: int, before: Sequence[TaskRecipient], heirs: Mapping[int, Sequence[TaskRecipient]]
    ) -> None:
        """The task gave way to others: what is ordered for a recipient holds for all that has become of it."""
        known, by_trace = {_key(r) for r in before}, dict[int, Key]()
        for trace, address in self._orders.get(task, ()):
            by_trace.setdefault(trace, (trace, address))
        self._hand_over(task, {
            to: [(key if (key := _key(r)) in known else by_trace.get(r.trace, key), key) for r in recipients]
            for to, recipients in heirs.items()
        })  # fmt: skip
        self.forget(task)

    def forget(self, task: int) -> None:
        """The task is gone."""
        if self._orders.pop(task, None) is not None:
            self._db.execute("DELETE FROM standing WHERE task=?", (task,))

    def _hand_over(self, task: int, heirs: Mapping[int, Sequence[tuple[Key, Key]]]) -> None:
        """Have (from, to) of each heir's recipients inherit."""
        orders = self._orders.get(task)
        if not orders:
            return
        left = set[Key]()
        for to, pairs in heirs.items():
            given = {key: dict(orders[old]) for old, key in pairs if old in orders}
            if given:
                self._orders[to] = given
                self.back.append(to)
                rows = [(to, *key, action, who) for key, of in given.items() for action, who in of.items()]
                self._db.executemany(_KEEP, rows)
            left |= {old for old, _ in pairs if old in orders}
        for key in left:
            self._drop(task, key, tuple(orders[key]))
        self._tidy(task)

    def _drop(self, task: int, key: Key, actions: Sequence[str]) -> None:
        of = self._orders[task].get(key, {})
        for action in actions:
            of.pop(action, None)
        if not of:
            self._orders[task].pop(key, None)
        self._db.executemany(_DROP, [(task, *key, action) for action in actions])

    def _tidy(self, task: int) -> None:
        if not self._orders.get(task, True):
            del self._orders[task]


def _key(recipient: TaskRecipient) -> Key:
    return recipient.trace, recipient.target.key
