"""The `lockgate` command: hands the terminal what only the switchboard knows, each part loaded when it is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lockgate.app.garbage import search_seldom

if TYPE_CHECKING:
    from lockgate.cli.asked import Places
    from lockgate.flow.checkup import Found
    from lockgate.policy.compile import Understood
    from lockgate.policy.problems import Problem


def _serve(config: Path) -> int:
    from lockgate.app.run import serve

    return serve(config)


def _places(config: Path) -> Places:
    from lockgate.app.config import read_config
    from lockgate.cli.asked import Places

    found = read_config(config)
    return Places(found.hostname, found.control_socket, found.policy_directory, found.mailboxes.kept)


def _check_config(config: Path) -> Sequence[Problem]:
    from lockgate.app.config import check_files, read_config

    return check_files(read_config(config), config)


def _read_documents(folder: Path) -> dict[str, str]:
    from lockgate.app.folder import read_documents

    return read_documents(folder)


def _settings(config: Path) -> Sequence[Mapping[str, Any]]:
    from lockgate.app.origins import settings

    return settings(config)


def _restore(backup: Path, config: Path, what_if: bool) -> dict[str, Any]:
    from lockgate.app.backup import CannotRestore, restore
    from lockgate.app.clock import SystemClock
    from lockgate.app.journal import start_journal
    from lockgate.cli.asked import CannotDo
    from lockgate.storage.archive import NotABackup
    from lockgate.storage.keeper import AlreadyKept
    from lockgate.storage.tables import NewerSchema

    journal = start_journal(SystemClock(), role="restore", form="lines", destination="stderr", alarms=None)
    try:
        return restore(backup, config, journal, what_if=what_if)
    except (CannotRestore, NotABackup, NewerSchema, AlreadyKept) as trouble:
        raise CannotDo(str(trouble)) from None
    finally:
        journal.close()


def _begin(folder: Path, files: Mapping[str, str], hostname: str) -> int:
    from lockgate.app.first import begin

    return begin(folder, files, hostname)


def _preflight(config: Path) -> Sequence[Found]:
    from lockgate.app.checkup.look import preflight

    return preflight(config)


def _doctor(config: Path) -> Sequence[Found]:
    from lockgate.app.checkup.look import doctor

    return doctor(config)


def _authenticate(
    file: Path, peer: str, helo: str, sender: str, config: Path | None, resolver: str
) -> dict[str, Any]:
    from lockgate.app.authenticity import CannotCheck, authenticate
    from lockgate.cli.asked import CannotDo

    try:
        return authenticate(file, peer, helo, sender, config, resolver)
    except CannotCheck as trouble:
        raise CannotDo(str(trouble)) from None


def _around(config: Path, understood: Understood) -> Sequence[Problem]:
    import asyncio

    from lockgate.app.checkup.around import look_around
    from lockgate.app.config import read_config

    return asyncio.run(look_around(read_config(config), understood))


def main() -> None:
    """Run one command and exit with its code."""
    search_seldom()  # before the commands are loaded
    from lockgate.cli.asked import Switchboard
    from lockgate.cli.commands import main as command_line

    board = Switchboard(_serve, _places, _check_config, _read_documents, _begin, _preflight, _doctor, _settings)
    command_line(board._replace(restore=_restore, authenticate=_authenticate, around=_around))


if __name__ == "__main__":
    main()
