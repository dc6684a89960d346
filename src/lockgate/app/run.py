"""Start, watch, reload, drain, stop: the supervisor of the service."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import msgspec

from lockgate.app.audit import StoredAudit
from lockgate.app.children import Child, Family
from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile, check_files, read_config
from lockgate.app.journal import LineJournal, start_journal
from lockgate.app.meters import ENDS, Meters, start_anew
from lockgate.app.policies import NoPolicy, Policies
from lockgate.app.sockets import CannotListen, Listening, close_listeners, direct, open_listeners
from lockgate.app.spread import Spread
from lockgate.app.state_folder import refused
from lockgate.edge.load import workloads
from lockgate.policy.phrases import read_phrase
from lockgate.policy.problems import Invalid, Problem
from lockgate.storage.audits import AuditBook
from lockgate.storage.lists import ListStore
from lockgate.storage.recipients import RecipientStore

Ready = Callable[[], None]

_AT_START = "the policy folder as it was at start"
_ON_SIGHUP = "the policy folder was read again"
_START_PATIENCE = 30.0
_KEEPER_PATIENCE = 15.0


class Running(msgspec.Struct, frozen=True):
    """What a started service writes into run/service.json, for the command line and for people."""

    pid: int
    hostname: str
    listeners: tuple[str, ...]
    control: str


def serve(config_path: Path) -> int:
    """Run the service until it is told to stop; the exit code. 2: the operator's file or the policy is wrong."""
    try:
        config = read_config(config_path)
        problems = check_files(config, config_path)
    except OSError as trouble:
        return _give_up(f"{config_path} cannot be read: {trouble.strerror or trouble}")
    except Invalid as trouble:
        problems = trouble.problems
    if problems:
        return _give_up(*[_spelled(problem) for problem in problems])
    return Supervisor(config, config_path).run()


def _give_up(*sentences: str) -> int:
    for sentence in sentences:
        sys.stderr.write(f"lockgate: {sentence}\n")
    return 2


def _spelled(problem: Problem) -> str:
    return f"{problem.file}:{problem.line}: {problem.path}: {problem.message}"


class Supervisor:
    """Owns the listening sockets and the processes; touches no mail."""

    def __init__(self, config: OperatorFile, path: Path) -> None:
        self._config = config
        self._path = path
        self._clock = SystemClock()
        self._stopping = False
        self._reload = False
        self._family = Family(self._tell)
        self._policies = Policies(
            config.state_directory / "policy",
            config.hostname,
            config.policy_directory,
            keeps_mailboxes=config.mailboxes.kept,
        )
        self._load_table = config.run_directory / "load.table"
        self._spread = Spread(config.worker_count)
        self._doors: tuple[Listening, ...] = ()
        self._policy_doors: tuple[Listening, ...] = ()

    def run(self) -> int:
        """The whole life of the service."""
        config = self._config
        state = (config.state_directory, config.queue_directory, config.recipients_directory, config.run_directory)
        try:
            for folder in state:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._publish()
            self._doors = open_listeners([(one.address, one.port) for one in config.listener], config.worker_count)
            if config.worker_count > 1 and not direct(self._doors, self._spread.takers):
                self._say("connections", "go to all workers from the start, because this kernel lets nobody choose")
            own, port = config.mta_sts.addresses, config.mta_sts.port
            self._policy_doors = open_listeners([(one, port) for one in own] if port is not None else (), 1)
            self._lay_out()
        except (NoPolicy, CannotListen) as trouble:
            return _give_up(str(trouble))
        except Invalid as trouble:
            return _give_up(*[_spelled(problem) for problem in trouble.problems])
        except OSError as trouble:
            return _give_up(refused(config.state_directory, trouble))
        self._handle_signals()
        if not self._start():
            self._stop()
            return 0 if self._stopping else 1
        self._announce()
        self._watch()
        self._stop()
        return 0

    def _lay_out(self) -> None:
        """The files that every process finds there. A service that is ending may have them open: it opens no more
        connections, and the keeper waits until it has gone."""
        from lockgate.app import wiring

        config = self._config
        start_anew(config.run_directory / "meters.table")
        wiring.create_load_table(self._load_table, config.worker_count)
        ListStore(config.lists_directory, self._clock).ensure(read_phrase)

    def _publish(self) -> None:
        """Put the documents in force. Broken ones do not stop a service that has a revision to work with."""
        try:
            self._put_in_force("start", _AT_START)
        except Invalid as trouble:
            try:
                revision = self._policies.in_force()
            except NoPolicy:
                raise trouble from None
            for problem in trouble.problems:
                self._say("policy document wrong", _spelled(problem))
            self._say("policy", f"revision {revision.number} stays in force until the documents are put right")

    def _put_in_force(self, by: str, reason: str) -> int:
        """Publish the documents; the number in force. A new revision is audited. Raises Invalid, OSError."""
        before = 0
        with contextlib.suppress(NoPolicy):
            before = self._policies.in_force().number
        now = self._clock.now()
        revision, policy = self._policies.publish(self._config.policy_directory, by=by, at=now, reason=reason)
        if revision.number != before:
            told = {"revision": revision.number, "digest": policy.digest, "because": by}
            journal = self._journal()
            audit = StoredAudit(AuditBook(self._config.state_directory), self._clock, journal)
            audit.wrote(f"{os.getuid()} supervisor", "reload", before=before or None, after=revision.number, **told)
            journal.close()
        return revision.number

    def _handle_signals(self) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            self._stopping = True

        def reload(number: int, frame: FrameType | None) -> None:
            self._reload = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGHUP, reload)

    def _start(self) -> bool:
        """Keeper first, then those who need it. False if somebody does not get ready."""
        # Imported before the first fork, so that all children share the pages.
        from lockgate.app import office, policy_host, wiring

        config = self._config
        if not RecipientStore(config.recipients_directory).ensure():
            self._say("recipients", "none are loaded; authoritative domains refuse all mail until `recipient import`")
        doors, policy_doors = self._doors, self._policy_doors
        everywhere = (*doors, *policy_doors)
        self._family.start(Child("keeper", _not_at(everywhere, lambda ready: wiring.run_keeper(config, ready))))
        if not self._all_ready():
            return False
        names = tuple(one.name for one in doors)
        for slot in range(config.worker_count):
            self._family.start(self._worker(slot, names))
        desk = _not_at(everywhere, lambda ready: office.run_desk(config, self._path, names, ready))
        self._family.start(Child("desk", desk))
        if sockets := [one for listening in policy_doors for one in listening.sockets]:
            host = _not_at(doors, lambda ready: policy_host.run_policy_host(config, sockets, ready))
            self._family.start(Child("policy-host", host))
        return self._all_ready()

    def _all_ready(self) -> bool:
        late = self._family.wait_ready(_START_PATIENCE, lambda: self._stopping)
        if late and not self._stopping:
            self._say("start", f"given up, not ready within {_START_PATIENCE:g} s: {', '.join(late)}")
        return not late

    def _worker(self, slot: int, names: tuple[str, ...]) -> Child:
        from lockgate.app import wiring

        config, table = self._config, self._load_table
        sockets = tuple(one.sockets for one in self._doors)
        return Child(
            f"worker-{slot}",
            _not_at(
                self._policy_doors, lambda ready: wiring.run_worker(config, slot, sockets, names, table, ready)
            ),
            lambda pid: wiring.clear_load(table, slot, config.worker_count),
        )

    def _announce(self) -> None:
        config = self._config
        running = Running(
            os.getpid(), config.hostname, tuple(one.name for one in self._doors), str(config.control_socket)
        )
        fresh = config.run_directory / ".service.json"
        fresh.write_bytes(msgspec.json.encode(running))
        fresh.replace(config.run_directory / "service.json")
        self._say("ready", f"mail on {', '.join(running.listeners)}, control socket {running.control}")
        _notify_systemd("READY=1")

    def _watch(self) -> None:
        every = _watchdog_seconds() / 3
        told = time.monotonic()
        while not self._stopping:
            if every and time.monotonic() - told >= every:
                told = time.monotonic()
                _notify_systemd("WATCHDOG=1")
            self._family.listen(0.1)
            self._family.reap()
            self._family.revive()
            if self._config.worker_count > 1:
                self._steer()
            if self._reload:
                self._reload = False
                self._publish_again()

    def _steer(self) -> None:
        """Give new connections to as many workers as the load of now needs."""
        before = self._spread.takers
        with contextlib.suppress(OSError, ValueError):
            takers = self._spread.look(workloads(self._load_table, self._config.worker_count), self._clock.monotonic())
            if takers != before:
                direct(self._doors, takers)

    def _publish_again(self) -> None:
        try:
            number = self._put_in_force("SIGHUP", _ON_SIGHUP)
            self._say("policy", f"revision {number} is in force")
        except (Invalid, OSError) as trouble:
            self._say("policy not taken up", str(trouble))

    def _stop(self) -> None:
        """Doors first, so that nothing new comes; the keeper last, so that everything said is kept."""
        _notify_systemd("STOPPING=1")
        close_listeners((*self._doors, *self._policy_doors))  # nobody is started again who would need them
        patience = self._config.deadlines.drain
        self._family.end(lambda name: name != "keeper", patience + 5.0)
        self._family.end(lambda name: name == "keeper", _KEEPER_PATIENCE)
        with contextlib.suppress(OSError):
            (self._config.run_directory / "service.json").unlink()
        self._say("stopped", "every process has ended")

    def _tell(self, what: str, who: str, pid: int) -> None:
        if what.startswith("ended") and not self._stopping:
            with contextlib.suppress(OSError, KeyError):
                meters = Meters(self._config.run_directory / "meters.table", "supervisor", self._config.worker_count)
                meters.add(meters.place(ENDS, who.partition("-")[0]))
                meters.close()
        self._say(f"process {what}", f"{who} (pid {pid})")

    def _say(self, happening: str, details: str) -> None:
        journal = self._journal()
        journal.note(happening, details=details)
        journal.close()

    def _journal(self) -> LineJournal:
        """One for each sentence: it has a thread, and there must be none while we fork."""
        log = self._config.log
        return start_journal(
            self._clock, role="supervisor", form=log.format, destination=log.destination,
            alarms=self._config.alarm_file, host=self._config.hostname,
        )  # fmt: skip


def _not_at(doors: Sequence[Listening], main: Callable[[Ready], None]) -> Callable[[Ready], None]:
    """`main` in a process that lets nobody in there: a socket it held open would take connections that nobody hears."""

    def run(ready: Ready) -> None:
        close_listeners(doors)
        main(ready)

    return run


def _watchdog_seconds() -> float:
    """Within how many seconds systemd wants to hear from us (WatchdogSec); 0: it does not."""
    try:
        return int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000
    except ValueError:
        return 0.0


def _notify_systemd(state: str) -> None:
    """Tell systemd, if it started us as Type=notify."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as pipe:
        pipe.connect("\0" + path[1:] if path.startswith("@") else path)
        pipe.sendall(state.encode())
