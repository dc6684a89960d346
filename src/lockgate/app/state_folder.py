"""Whether the state directory can be used, and a sentence where it cannot: the path, the reason, and what helps."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

_TRIAL = ".lockgate-trial-"


def nearest(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def unusable(folder: Path) -> str:
    """Why nobody could use this folder for the state; "": nothing speaks against it. Leaves nothing behind.

    What this account alone may not do is not looked at: another account may run the service.
    """
    place = nearest(folder)
    if not place.is_dir():
        return refused(folder, NotADirectoryError(errno.ENOTDIR, "", str(place)))
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return refused(folder, OSError(errno.EROFS, "", str(place)))
    if place != folder and os.access(place, os.W_OK | os.X_OK):
        try:
            Path(tempfile.mkdtemp(prefix=_TRIAL, dir=place)).rmdir()
        except OSError as trouble:
            return refused(folder, OSError(trouble.errno, trouble.strerror, str(folder)))
    return ""


def refused(folder: Path, trouble: OSError) -> str:
    """What the system refused while this folder was to be used for the state, as a sentence."""
    place = Path(os.fsdecode(trouble.filename)) if trouble.filename else folder
    ours = place.is_relative_to(folder) or folder.is_relative_to(place)
    help_ = ", or give another state_directory" if ours else ""
    match trouble.errno:
        case errno.EROFS:
            return f"{place} is on a file system that is read-only; mount it writable{help_}"
        case errno.EACCES | errno.EPERM:
            who = f"run as the account that owns it, or chown -R $(id -un) {folder if ours else place}"
            return f"{place} may not be written by this account (uid {os.geteuid()}); {who}{help_}"
        case errno.EEXIST | errno.ENOTDIR:
            return f"{place} is a file where a folder is needed; move it away{help_}"
        case errno.ENOSPC | errno.EDQUOT:
            return f"there is no room for {place}; make room on its disk{help_}"
        case _:
            return f"{place} cannot be made or written ({trouble.strerror or trouble}); look at its disk{help_}"
