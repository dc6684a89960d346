"""Connectors at the desk: an outbound connector is tried, and what came of it is kept (specification 1.2.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.connectors import ConnectorValidate
from lockgate.flow.desk.explain import Revisions
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing
from lockgate.flow.validated import fingerprint, when
from lockgate.flow.validating import Trial, Validating
from lockgate.mail.address import Address, AddressError, parse_address
from lockgate.mail.validation import StepName, StepOutcome, Validation, ValidationStep
from lockgate.policy.compile import default_domain
from lockgate.policy.objects.connectors import OutboundConnector
from lockgate.policy.policy import Policy
from lockgate.policy.problems import nearest
from lockgate.seams import Audit, Clock, Journal, Unavailable, Validations

MOST_RECIPIENTS = 20
"""Test recipients of one validation."""

LOCAL_PART = "connectorvalidation"
"""Of the sender that test mail has unless another one is wished (Exchange: O365ConnectorValidation)."""


class ConnectorDesk(msgspec.Struct, frozen=True):
    """Answers `connector validate`."""

    revisions: Revisions
    validating: Validating
    validations: Validations
    audit: Audit
    clock: Clock
    journal: Journal

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {ConnectorValidate: Handler(Right.DOMAINS_AND_CONNECTORS, self.validate)}

    async def validate(self, request: ConnectorValidate, caller: Caller) -> Answer:
        """Try it, keep the result, note it in the audit; a failure is a result like another."""
        policy, named = await self._policy(request.documents)
        connector = found(policy, request.name, request.organisation)
        trial = Trial(policy, connector, self._recipients(request, connector), _sender(request, policy, connector),
                      request.mail, request.what_if)  # fmt: skip
        begun = self.clock.now()
        steps = await self.validating.validate(trial)
        validation = Validation(
            organisation=connector.organisation,
            connector=connector.name,
            at=begun,
            by=caller.name,
            success=successful(steps),
            sender=trial.sender.text if trial.sender is not None else "",
            recipients=tuple([address.text for address in trial.recipients]),
            mailed=any(one.step is StepName.TEST_MAIL and one.outcome is not StepOutcome.SKIPPED for one in steps),
            policy=named,
            fingerprint=fingerprint(connector),
            steps=steps,
        )
        if request.what_if:
            return Answer(result=row_of(validation, kept=False))
        self._note(validation)
        if all(step.step is StepName.SCOPE for step in steps):
            return Answer(result=row_of(validation, kept=False))  # nothing was tried, so nothing is known that was not
        try:
            await asyncio.to_thread(self.validations.put, validation)
        except OSError as trouble:
            raise Unavailable(f"the result could not be kept ({trouble}): {_summary(validation)}") from None
        return Answer(result=row_of(validation, kept=True))

    def _note(self, validation: Validation) -> None:
        """An audit row, and a line in the log for each test message: it is in no queue and no trace."""
        told = {
            "organisation": validation.organisation, "object": validation.connector, "success": validation.success,
            "recipients": list(validation.recipients), "sender": validation.sender, "policy": validation.policy,
            "test_mail": validation.mailed, "outcome": _summary(validation),
        }  # fmt: skip
        self.audit.wrote(validation.by, "connector validate", **told)
        for step in validation.steps:
            if step.step is StepName.TEST_MAIL and step.outcome is not StepOutcome.SKIPPED:
                self.journal.note(
                    "test mail", connector=validation.connector, to=step.recipient, relay=step.details.get("host", ""),
                    tls=step.details.get("tls", ""), reply=step.details.get("reply", step.seen),
                )  # fmt: skip

    async def _policy(self, documents: Mapping[str, str] | None) -> tuple[Policy, str]:
        if documents is not None:
            policy = await self.revisions.draft(documents)
            return policy, f"a draft (digest {policy.digest[:12]})"
        policy = await self.revisions.in_force()
        return policy, f"revision {policy.revision}"

    def _recipients(self, request: ConnectorValidate, connector: OutboundConnector) -> tuple[Address, ...]:
        """Whom to send to: who is named, else whom the last validation or the documents name. Raises Misuse."""
        texts = list(request.to) or list(connector.validation_recipients)
        if not request.to and (last := self.validations.last(connector.organisation, connector.name)) is not None:
            texts = list(last.recipients)
        if not texts:
            raise Misuse(f"say whom to send to: connector validate {connector.name[:80]} --to ADDRESS")
        if len(texts) > MOST_RECIPIENTS:
            raise Misuse(f"at most {MOST_RECIPIENTS} test recipients are taken")
        return tuple(dict.fromkeys(_address(text) for text in texts))


def found(policy: Policy, name: str, organisation: str) -> OutboundConnector:
    """The outbound connector of this name (case does not count). Raises Nothing or Misuse."""
    mine = [one for key, one in policy.organisations.items() if organisation.casefold() in ("", key.casefold())]
    if not mine:
        raise Misuse(f"there is no organisation '{organisation[:80]}'; there are {', '.join(policy.organisations)}")
    outbound = {(c.organisation, c.name): c for one in mine for c in one.outbound.named.values()}
    matching = [c for (_, key), c in outbound.items() if key.casefold() == name.casefold()]
    if len(matching) > 1:
        owners = ", ".join(one.organisation for one in matching)
        raise Misuse(f"several are called '{name[:80]}' (of {owners}); say which: --organisation")
    if matching:
        return matching[0]
    if any(key.casefold() == name.casefold() for one in mine for key in one.inbound):
        raise Misuse(f"'{name[:80]}' is an inbound connector; only outbound connectors can be validated")
    known = [key for _, key in outbound]
    listed = f"; there are {', '.join(sorted(known)[:10])}" if known else "; there is none"
    raise Nothing(f"there is no outbound connector '{name[:80]}'{nearest(name, known) or listed}")


def successful(steps: tuple[ValidationStep, ...]) -> bool:
    """Whether something was tried and nothing failed."""
    outcomes = {step.outcome for step in steps}
    return StepOutcome.OK in outcomes and StepOutcome.FAILED not in outcomes


def _sender(request: ConnectorValidate, policy: Policy, connector: OutboundConnector) -> Address | None:
    if request.sender.strip() == "<>":
        return None
    if request.sender.strip():
        return _address(request.sender)
    mine = policy.of(connector.organisation)
    return parse_address(f"{LOCAL_PART}@{default_domain(mine.accepted) or policy.hostname}")


def _address(text: str) -> Address:
    try:
        return parse_address(text.strip().removeprefix("<").removesuffix(">"), utf8=True)
    except AddressError as trouble:
        raise Misuse(f"'{text[:80]}' is no address: {trouble}") from None


def _summary(validation: Validation) -> str:
    wrong = [one for one in validation.steps if one.outcome is StepOutcome.FAILED]
    if not wrong:
        return "every step went well"
    return "; ".join(f"{one.step.value}: {one.seen}"[:200] for one in wrong[:3])


def row_of(validation: Validation, *, kept: bool) -> dict[str, Any]:
    """A validation as every face shows it (docs/connectors.md); `kept`: it is the last one of the connector now."""
    return {
        "organisation": validation.organisation,
        "connector": validation.connector,
        "success": validation.success,
        "kept": kept,
        "at": when(validation.at),
        "by": validation.by,
        "policy": validation.policy,
        "sender": validation.sender,
        "recipients": list(validation.recipients),
        "test_mail": validation.mailed,
        "summary": _summary(validation),
        "steps": [
            {
                "step": one.step.value, "outcome": one.outcome.value, "server": one.server,
                "recipient": one.recipient, "seen": one.seen, "fix": one.fix, "details": one.details,
            }
            for one in validation.steps
        ],
    }  # fmt: skip
