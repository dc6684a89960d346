"""What can be asked about backups."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class BackupMake(Ask, frozen=True, tag="backup_make"):
    """Write a backup to `file`, an absolute path ("": a new name in the state directory's backups; a folder: there).

    Without `keys` the files that lie outside the state directory and are secret stay out, without `mailboxes` the
    Maildirs of this machine; with `what_if` nothing is written.
    """

    file: str = ""
    keys: bool = True
    what_if: bool = False
    mailboxes: bool = True
