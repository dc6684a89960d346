"""What this machine knows itself of what the judge asks: the same for live mail, replay, shadow and validation."""

from __future__ import annotations

from lockgate.app.config import OperatorFile
from lockgate.flow.blocking import with_blocks
from lockgate.flow.leading_back import WaysBack
from lockgate.flow.listed import with_lists
from lockgate.flow.settle import Ask, local_answers
from lockgate.seams import Clock, Lists
from lockgate.storage.blocks import BlockFile
from lockgate.storage.directory import DirectoryTable
from lockgate.storage.lists import ListFiles
from lockgate.storage.recipients import RecipientStore


def known_here(config: OperatorFile, clock: Clock, ways_back: WaysBack, lists: Lists | None = None) -> Ask:
    """Directory, forwarded addresses, named lists (those of the installation, if none are given) and blocks."""
    directory = DirectoryTable(RecipientStore(config.recipients_directory).table, clock)
    lists = ListFiles(config.lists_directory, clock) if lists is None else lists
    return with_blocks(BlockFile(config.state_directory), with_lists(lists, ways_back.over(local_answers(directory))))
