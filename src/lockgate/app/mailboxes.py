"""What the desk is told of the hosted mailboxes of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lockgate.app.config import OperatorFile
from lockgate.couriers.mailbox_census import Box, census, look
from lockgate.couriers.mailbox_folders import escaped, folders_of
from lockgate.flow.desk.directory_writes import DirectoryWrites
from lockgate.flow.desk.mailbox_moves import MoveDesk
from lockgate.flow.desk.mailboxes import MailboxDesk
from lockgate.policy.policy import Policy
from lockgate.seams import Audit, Directory, Unavailable
from lockgate.storage.keeping import KeeperKeeping


def mailbox_desk(
    directory: Path | None, people: Directory, organisations: Callable[[], Sequence[str]]
) -> MailboxDesk:
    """The desk's section about the mailboxes below `directory` (None: there are none here)."""
    if directory is None:
        return MailboxDesk(people, organisations, None, None)

    async def listed(organisation: str, limit: int) -> Sequence[dict[str, Any]]:
        names = {escaped(name): name for name in organisations()}
        folder = escaped(organisation) if organisation else ""
        return [_row(box, names) for box in await _read(lambda: census(directory, folder, limit))]

    async def one(organisation: str, address: str) -> dict[str, Any] | None:
        names = {escaped(name): name for name in organisations()}
        box = await _read(lambda: look(directory, folders_of(organisation, address)))
        return None if box is None else {**_row(box, names), "path": str(directory.joinpath(*box.folders))}

    return MailboxDesk(people, organisations, listed, one)


def move_desk(
    config: OperatorFile, audit: Audit, writes: DirectoryWrites, policy: Callable[[], Policy]
) -> MoveDesk:
    """The desk's section that moves mailboxes."""
    directory = config.mailboxes.directory

    async def left(organisation: str, address: str) -> dict[str, Any] | None:
        if directory is None:
            return None
        box = await _read(lambda: look(directory, folders_of(organisation, address)))
        return None if box is None else {"messages": box.messages, "path": str(directory.joinpath(*box.folders))}

    return MoveDesk(audit, writes, KeeperKeeping(config.state_directory), policy, left)


async def _read(work: Callable[[], Any]) -> Any:
    try:
        return await asyncio.to_thread(work)
    except OSError as trouble:
        raise Unavailable(f"the mailboxes cannot be read: {trouble}") from None


def _row(box: Box, names: dict[str, str]) -> dict[str, Any]:
    return {
        "organisation": names.get(box.folders[0], box.folders[0]),
        "address": box.address or f"{box.folders[2]}@{box.folders[1]}",
        "messages": box.messages,
        "unseen": box.unseen,
        "size": box.size,
        "last_delivery": box.last,
        "folder": "/".join(box.folders),
    }
