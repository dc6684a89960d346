"""A way into the queue for processes that carry no mail: what they write is delivered by the workers."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator

from lockgate.app.config import OperatorFile
from lockgate.flow.own_mail import OwnMail
from lockgate.flow.settle import local_answers
from lockgate.mail.identity import network_id
from lockgate.mail.record import Recorder
from lockgate.seams import Clock, Journal
from lockgate.storage.client import KeeperSpool, SpoolSettings
from lockgate.storage.directory import DirectoryTable
from lockgate.storage.recipients import RecipientStore


@contextlib.asynccontextmanager
async def own_post(config: OperatorFile, clock: Clock, journal: Journal) -> AsyncIterator[OwnMail]:
    """A place in the queue for the time of a few letters; it takes no tasks. Raises Unavailable."""
    settings = SpoolSettings(
        config.state_directory, config.worker_count, patience=10.0, low_space=0, segment_size=1024 * 1024
    )
    spool = KeeperSpool(settings, clock, journal)
    spool.stop_taking()
    await spool.open()
    try:
        directory = DirectoryTable(RecipientStore(config.recipients_directory).table, clock)
        yield OwnMail(
            spool=spool,
            ask=local_answers(directory),
            recorder=Recorder(),
            clock=clock,
            new_id=lambda: network_id(secrets.token_bytes(10), clock.now()),
            installation=config.mark,
            life=config.delivery.report_life,
        )
    finally:
        await spool.close()
