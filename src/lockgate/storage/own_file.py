"""A small SQLite file of its own beside the queue: made when it is first used, opened anew for each use.

Forks and threads are harmless that way. What is kept in one the mail path does not need, or not at once.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class Plan(NamedTuple):
    """What the file is: the statements that make version `version`, and how it is opened.

    `durable`: what was written survives a power cut, not only a kill. `erases`: what is deleted is overwritten.
    `prepare` is given every connection before it is used. `newer` is raised, with what to do, when a later version of
    Lockgate wrote the file; None: it is used all the same.
    """

    version: int
    tables: str
    newer: type[Exception] | None
    durable: bool = True
    erases: bool = False
    prepare: Callable[[sqlite3.Connection], None] | None = None


class OwnFile:
    """The file at `path`. Whatever is done raises sqlite3.Error, OSError, or the plan's exception."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self._path = path
        self._plan = plan
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for looking."""
        with self._lock, contextlib.closing(self._open()) as db:
            yield db

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: kept once left without an exception, else as if it had not been."""
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        plan = self._plan
        db = sqlite3.connect(self._path, isolation_level=None, timeout=5.0, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'FULL' if plan.durable else 'NORMAL'}")
            if plan.erases:
                db.execute("PRAGMA secure_delete = ON")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > plan.version and plan.newer is not None:
                raise plan.newer(f"{self._path} was written by a newer version of Lockgate; move it away to go on")
            if version == 0:
                self._make(db)
            if plan.prepare is not None:
                plan.prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _make(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:  # another process may have been quicker
            for statement in self._plan.tables.split(";"):
                if statement.strip():
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {self._plan.version}")
        db.execute("COMMIT")
        self._path.chmod(0o600)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
