"""What is known of connectors from their validations: when, whether it went well, and whether it still counts."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

import msgspec

from lockgate.mail.validation import StepOutcome, Validation
from lockgate.policy.documents import Written
from lockgate.policy.objects.connectors import OutboundConnector
from lockgate.seams import Validations

_FOR_PEOPLE = {
    "comment", "admin_display_name", "connector_source", "link_for_modified_connector", "is_validated",
    "last_validation_timestamp", "validation_recipients",
}  # fmt: skip
"""Properties that change nothing about how mail leaves."""


def fingerprint(connector: OutboundConnector) -> str:
    """Of the settings by which mail leaves; another one means that an earlier validation says nothing any more."""
    text = connector.model_dump_json(exclude=_FOR_PEOPLE, exclude_defaults=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def is_stale(validation: Validation, connector: OutboundConnector) -> bool:
    """Whether the connector was changed since."""
    return validation.fingerprint != fingerprint(connector)


def when(at: float) -> str:
    """A time as documents write it (RFC 3339, UTC)."""
    return dt.datetime.fromtimestamp(int(at), dt.UTC).isoformat().replace("+00:00", "Z")


def told(validation: Validation, *, stale: bool) -> dict[str, Any]:
    """A validation without its steps, JSON-ready; of failed steps the first words."""
    return {
        "at": when(validation.at),
        "by": validation.by,
        "success": validation.success,
        "stale": stale,
        "policy": validation.policy,
        "sender": validation.sender,
        "recipients": list(validation.recipients),
        "test_mail": validation.mailed,
        "failed": [
            {"step": step.step.value, "server": step.server, "recipient": step.recipient, "seen": step.seen}
            for step in validation.steps
            if step.outcome is StepOutcome.FAILED
        ][:20],
    }


class ValidationNotes(msgspec.Struct, frozen=True):
    """What `connector list` and `connector show` say of validations, beside what the documents say."""

    validations: Validations

    def of(self, written: Written[Any]) -> dict[str, Any]:
        """Properties to lay over the row of an object; none for what is no outbound connector or was never tried.

        What was imported with the documents (is_validated and its like) holds until the connector is tried here.
        """
        connector = written.value
        if not isinstance(connector, OutboundConnector):
            return {}
        last = self.validations.last(connector.organisation, connector.name)
        if last is None:
            return {}
        stale = is_stale(last, connector)
        return {
            "is_validated": last.success and not stale,
            "last_validation_timestamp": when(last.at),
            "validation_recipients": list(last.recipients),
            "validation": told(last, stale=stale),
        }
