"""The processes of the service: started by fork, watched, started again when they die, ended in order."""

from __future__ import annotations

import ctypes
import gc
import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_QUICK_DEATH = 5.0
_LONGEST_PAUSE = 2.0


class CannotRun(Exception):
    """A process cannot do its work as things are; the message says why and what to do, so nobody needs a stack."""


class Child:
    """One process of the service. `main` runs in it and is given a function to call once it is ready to work."""

    __slots__ = ("after_death", "deaths", "main", "name", "not_before", "pid", "ready", "started")

    def __init__(
        self,
        name: str,
        main: Callable[[Callable[[], None]], None],
        after_death: Callable[[int], None] | None = None,
    ) -> None:
        self.name = name
        self.main = main
        self.after_death = after_death
        self.pid = 0
        self.ready = False
        self.started = 0.0
        self.not_before = 0.0
        self.deaths = 0


class Family:
    """All children of the supervisor. Single-threaded and without an event loop, so that forking is safe."""

    def __init__(self, tell: Callable[[str, str, int], None]) -> None:
        self._children: list[Child] = []
        self._tell = tell
        self._selector = selectors.DefaultSelector()
        self._parent = os.getpid()

    @property
    def children(self) -> Sequence[Child]:
        """Every child in the order in which it is started."""
        return self._children

    def start(self, child: Child) -> None:
        """Fork `child`. It dies with us: a supervisor that is gone must not leave a second service behind."""
        if child not in self._children:
            self._children.append(child)
        read, write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()  # what exists now stays shared between the processes
        pid = os.fork()
        if pid == 0:
            os.close(read)
            self._be(child, write)
        os.close(write)
        child.pid, child.ready, child.started = pid, False, time.monotonic()
        self._selector.register(read, selectors.EVENT_READ, (child, pid))

    def _be(self, child: Child, write: int) -> None:
        """The life of a child; never returns."""
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            _die_with_parent(self._parent)
            _call_me(f"lg:{child.name}")
            self._selector.close()
            child.main(lambda: _say_ready(write))
            code = 0
        except KeyboardInterrupt:
            code = 0
        except CannotRun as trouble:
            sys.stderr.write(f"{trouble}\n")
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def wait_ready(self, patience: float, stop: Callable[[], bool] = lambda: False) -> list[str]:
        """Wait until all are ready; the names of those that are not after `patience` seconds, or when `stop` says so.

        Whoever dies meanwhile is started again: what killed it may be over.
        """
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and not stop():
            self.listen(0.05)
            self.reap()
            self.revive()
            if all(child.ready for child in self._children):
                return []
        return [child.name for child in self._children if not child.ready]

    def listen(self, timeout: float) -> None:
        """Take in "ready" messages for at most `timeout` seconds."""
        if not self._selector.get_map():
            time.sleep(timeout)
            return
        for key, _ in self._selector.select(timeout):
            child: Child
            child, pid = key.data
            # One that has died in the meantime may have said so before; its successor has not.
            if os.read(key.fd, 16) and child.pid == pid:
                child.ready = True
                child.deaths = 0 if time.monotonic() - child.started > _QUICK_DEATH else child.deaths
                self._tell("ready", child.name, child.pid)
            self._selector.unregister(key.fd)
            os.close(key.fd)

    def reap(self) -> list[Child]:
        """The children that have died since the last call."""
        dead: list[Child] = []
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._tell(f"ended with {_how(status)}", child.name, pid)
                self._bury(child)
                dead.append(child)
        return dead

    def _bury(self, child: Child) -> None:
        now = time.monotonic()
        quick = now - child.started < _QUICK_DEATH
        child.deaths = child.deaths + 1 if quick else 0
        # The first restart is immediate; one that keeps dying young is given time, so that the log stays readable.
        child.not_before = now + (min(0.25 * 2**child.deaths, _LONGEST_PAUSE) if child.deaths > 1 else 0.0)
        pid, child.pid, child.ready = child.pid, 0, False
        if child.after_death is not None:
            child.after_death(pid)

    def revive(self) -> None:
        """Start again whoever is dead and has waited long enough."""
        now = time.monotonic()
        for child in self._children:
            if not child.pid and now >= child.not_before:
                self.start(child)

    def end(self, names: Callable[[str], bool], patience: float) -> None:
        """SIGTERM to those whose name `names` accepts; SIGKILL after `patience` seconds."""
        going = [child for child in self._children if child.pid and names(child.name)]
        for child in going:
            os.kill(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        while any(child.pid for child in going) and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.02)
        for child in going:
            if child.pid:
                self._tell(f"did not end within {patience:g} s and is killed", child.name, child.pid)
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
                self._bury(child)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.WEXITSTATUS(status)}"


def _say_ready(pipe: int) -> None:
    os.write(pipe, b"ready")
    os.close(pipe)


def _die_with_parent(parent: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    prctl = getattr(libc, "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _call_me(name: str) -> None:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)
