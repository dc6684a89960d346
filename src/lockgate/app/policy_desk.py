"""What the desk needs to plan, publish and change policy."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from lockgate.app.checkup.around import around_of
from lockgate.app.config import OperatorFile
from lockgate.app.names import resolver_of
from lockgate.app.policies import Policies
from lockgate.app.shadowing import ShadowShelf
from lockgate.flow.desk.domains import DomainDesk
from lockgate.flow.desk.lists import ListDesk
from lockgate.flow.desk.objects import ObjectDesk
from lockgate.flow.desk.policies import PolicyDesk
from lockgate.flow.desk.section import Section
from lockgate.flow.desk.shadow import ShadowDesk
from lockgate.flow.listed import ListNotes
from lockgate.flow.revising import Revising
from lockgate.flow.validated import ValidationNotes
from lockgate.policy.documents import Written
from lockgate.seams import Audit, Clock, Validations
from lockgate.storage.lists import ListStore

Notes = Callable[[Written[Any]], Mapping[str, Any]]


def policy_sections(
    config: OperatorFile, policies: Policies, audit: Audit, clock: Clock, validations: Validations, notes: Notes
) -> tuple[Section, ...]:
    """The sections that see and change the policy; `notes` of objects besides those about validations."""
    revising = Revising(policies, audit, clock, config.hostname, keeps_mailboxes=config.mailboxes.kept)
    lists = ListStore(config.lists_directory, clock)
    validated, listed = ValidationNotes(validations), ListNotes(lists)
    objects = ObjectDesk(
        revising, lambda: f"lockgate-proof={secrets.token_hex(16)}",
        lambda written, documents: {**validated.of(written), **listed.of(written, documents), **notes(written)},
    )  # fmt: skip
    # It remembers nothing: a record that was published a minute ago must be found.
    resolver = resolver_of(config, clock, remembers=False)
    around = around_of(config, resolver)
    return (
        ListDesk(revising, audit, lists),
        PolicyDesk(revising, lambda understood: around.look(understood, clock.now())),
        objects,
        DomainDesk(objects, resolver, clock),
        ShadowDesk(revising, ShadowShelf(config), audit, clock),
    )
