"""A message and the letters about it, all or nothing: what mail flow rules have us write is kept together with it."""

from __future__ import annotations

from lockgate.storage.frames import Accept
from lockgate.storage.ledger import Ledger


def accept_together(ledger: Ledger, incarnation: int, new: Accept) -> tuple[tuple[int, bool], ...]:
    """Gather a message and its letters; (task, owned by this worker) for each task of the message itself.

    What is to be kept `once` and is there already is left out. Letters wait for whoever carries their lane next.
    """
    tasks: tuple[tuple[int, bool], ...] = ()
    if not (new.once and _is_there(ledger, new)):
        tasks = ledger.accept(incarnation, new)
    for letter in new.letters:
        if not (letter.once and _is_there(ledger, letter)):
            ledger.accept(0, letter)
    return tasks


def _is_there(ledger: Ledger, new: Accept) -> bool:
    ledger.flush()  # it may be in the same batch
    return ledger.find(new.id) is not None
