"""Who is told about the message: an incident report, a notification (specification 1.15.9; docs/rule-actions.md).

The letters are written when the fate of the message is known (flow/rule_letters.py), and kept together with it.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, Field, RootModel

from lockgate.mail.ruling import Effects, ReportWanted
from lockgate.policy.kinds import action
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Change
from lockgate.policy.spelling import MailboxText

Content = Literal[
    "sender", "recipients", "subject", "cc", "bcc", "severity", "override", "rule_detections", "false_positive",
    "data_classifications", "id_match", "attach_original_mail",
]  # fmt: skip
"""What an incident report may tell (specification 1.15.9: IncidentReportContent)."""

_ACTIVE = re.compile(r"<\s*(script|iframe|object|embed|form|link|meta|base)\b|javascript:|<[^>]*\son[a-z]+\s*=", re.I)
_TOKEN = re.compile(r"%%([A-Za-z]*)%%")
TOKENS = ("From", "To", "Cc", "Subject", "Headers", "MessageDate")
"""What may stand between %% and %% in a notification."""


def _text(text: str) -> str:
    if not all(c.isprintable() or c in "\r\n\t" for c in text):
        raise ValueError("only printable characters, tabs and line ends can be sent")
    if _ACTIVE.search(text):
        raise ValueError("a notification holds nothing that acts: no script, form, frame, link or event handler")
    for token in _TOKEN.findall(text):
        if token not in TOKENS:
            raise ValueError(f"there is no %%{token}%%; there are {', '.join(f'%%{one}%%' for one in TOKENS)}")
    return text


@action("generate_incident_report", "An incident report is sent, one for each message and rule")
class GenerateIncidentReport(BaseModel, frozen=True, extra="forbid"):
    """Specification 1.15.9: GenerateIncidentReport and IncidentReportContent."""

    even_on: ClassVar[tuple[str, ...]] = ("audit", "audit_and_notify")

    report_to: MailboxText = Field(description="Who gets it, one address.", examples=["security@contoso.com"])
    content: tuple[Content, ...] = Field(
        (),
        max_length=12,
        description="What it tells besides the message id: sender, recipients, subject, cc, bcc, severity, override, "
        "rule_detections, false_positive, data_classifications, id_match, attach_original_mail.",
        examples=[["sender", "recipients", "subject", "severity", "rule_detections"]],
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Once, however many recipients the rule applies to."""
        wanted = ReportWanted(rule.name, self.report_to, tuple(dict.fromkeys(self.content)))

        def change(effects: Effects) -> Effects:
            if wanted in effects.reports:
                return effects
            return msgspec.structs.replace(effects, reports=(*effects.reports, wanted))

        return change


@action("generate_notification", "The recipient gets a note about the message")
class GenerateNotification(RootModel[Annotated[str, AfterValidator(_text)]], frozen=True):
    """Specification 1.15.9: GenerateNotification; a text with tags is sent as HTML."""

    even_on: ClassVar[tuple[str, ...]] = ("audit_and_notify",)

    root: Annotated[str, AfterValidator(_text)] = Field(
        min_length=1,
        max_length=5120,
        description="Text or HTML; %%From%%, %%To%%, %%Cc%%, %%Subject%%, %%Headers%% and %%MessageDate%% stand for "
        "what the message says.",
        examples=["A message from %%From%% was sent to you: %%Subject%%"],
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """One note for each recipient the rule applies to."""
        name = rule.name
        context.notes[name] = self.root

        def change(effects: Effects) -> Effects:
            return effects if name in effects.notes else msgspec.structs.replace(effects, notes=(*effects.notes, name))

        return change
