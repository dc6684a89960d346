"""What the trace can be searched by at the terminal: the same options for every command that searches it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

OPTIONS: dict[str, tuple[str, str]] = {
    "sender": ("--sender", "Envelope sender; <> for reports."),
    "recipient": ("--recipient", "Envelope recipient."),
    "sender_domain": ("--sender-domain", "Domain of the sender."),
    "recipient_domain": ("--recipient-domain", "Domain of the recipient."),
    "id": ("--id", "Id of the message, of the refusal or connection, or Message-ID."),
    "message_id": ("--message-id", "Message-ID only."),
    "ip": ("--ip", "Address of the sending or of the next server."),
    "from_ip": ("--from-ip", "Address of the sending server."),
    "to_ip": ("--to-ip", "Address of the next server."),
    "connector": ("--connector", "Inbound or outbound connector."),
    "inbound_connector": ("--inbound-connector", "Inbound connector."),
    "outbound_connector": ("--outbound-connector", "Outbound connector."),
    "rule": ("--rule", "Mail flow rule that applied."),
    "status": ("--status", "Delivered, Pending, Failed, Held, Refused, ..."),
    "revision": ("--revision", "Revision of the policy that judged."),
    "pool": ("--pool", "Source addresses that were used."),
    "subject": ("--subject", "Text in the subject, where subjects are kept."),
    "organisation": ("--organisation", "Only this organisation."),
    "since": ("--since", "2h, 3d, 2026-11-24 or 2026-11-24T08:00:00Z."),
    "until": ("--until", "The same forms as --since."),
}
"""Name of the filter: how it is written, and what it means."""


def searching(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each filter; it is handed those that were given as `filters`."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        given = {name: options.pop(f"by_{name}") for name in OPTIONS}
        command(*arguments, filters={name: value for name, value in given.items() if value}, **options)

    own = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(
            f"by_{name}", inspect.Parameter.KEYWORD_ONLY, default="",
            annotation=Annotated[str, typer.Option(flag, help=help_)],
        )
        for name, (flag, help_) in OPTIONS.items()
    ]  # fmt: skip
    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) if name != "context" else parameter
        for name, parameter in own.parameters.items()
        if name != "filters"
    ]
    run.__signature__ = inspect.Signature([*kept, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*kept, *added]}
    del run.__wrapped__
    return run
