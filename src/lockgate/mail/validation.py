"""What a look at an outbound connector came to, step by step (specification 1.2.2)."""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class StepName(enum.StrEnum):
    """The steps, in the order in which they are taken."""

    SCOPE = "scope"
    PLAN = "plan"
    RESOLVE = "resolve"
    DIAL = "dial"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    CHAIN = "chain"
    NAME = "name"
    PIN = "pin"
    DANE = "dane"
    MTA_STS = "mta_sts"
    CLIENT_CERTIFICATE = "client_certificate"
    LOGIN = "login"
    RECIPIENT = "recipient"
    TEST_MAIL = "test_mail"


class StepOutcome(enum.StrEnum):
    """How a step went. Skipped: nothing was demanded there, or an earlier step did not let it come to that."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class ValidationStep(msgspec.Struct, frozen=True):
    """One step: what was seen, and for a failed one the remedy in one sentence.

    `server` is "name[address]:port" of the server looked at ("" for what concerns all), `recipient` the test recipient
    it is about. `details` is plain data for programs (docs/connectors.md has the keys).
    """

    step: StepName
    outcome: StepOutcome
    seen: str
    fix: str = ""
    server: str = ""
    recipient: str = ""
    details: dict[str, Any] = {}


def failed(
    step: StepName, seen: str, fix: str, *, server: str = "", recipient: str = "", **details: Any
) -> ValidationStep:
    """A step that went wrong."""
    return ValidationStep(step, StepOutcome.FAILED, seen, fix, server, recipient, details)


def passed(step: StepName, seen: str, *, server: str = "", recipient: str = "", **details: Any) -> ValidationStep:
    """A step that went well."""
    return ValidationStep(step, StepOutcome.OK, seen, "", server, recipient, details)


def skipped(
    step: StepName, seen: str, *, fix: str = "", server: str = "", recipient: str = "", **details: Any
) -> ValidationStep:
    """A step that was not taken, or whose result nothing depends on."""
    return ValidationStep(step, StepOutcome.SKIPPED, seen, fix, server, recipient, details)


class Validation(msgspec.Struct, frozen=True):
    """One validation of one connector as it is kept. `at` is seconds since the epoch.

    `mailed` tells that test mail was sent, `policy` which policy the connector was taken from (a revision or a draft).
    `fingerprint` is that of the connector's settings then: when it is another one today, the result is stale.
    """

    organisation: str
    connector: str
    at: float
    by: str
    success: bool
    sender: str
    recipients: tuple[str, ...]
    mailed: bool
    policy: str
    fingerprint: str
    steps: tuple[ValidationStep, ...]
