"""The operator's file on running the service: who may command it, what it tells, and from when a person is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from lockgate.app.config_kinds import IpAddress, Mailbox, Mode, Port, Reference, Section
from lockgate.app.units import Duration, Size
from lockgate.flow.desk.rights import ROLE_GROUPS


def _role_group(text: str) -> str:
    if text not in ROLE_GROUPS:
        raise ValueError(f"there is no role group '{text}'; there are {', '.join(ROLE_GROUPS)}")
    return text


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("https", "http") and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("write an address such as https://hooks.example.com/lockgate, without a login in it")
    return text


class Webhook(Section):
    """Where alerts are posted as JSON."""

    url: Annotated[str, AfterValidator(_url)] = Field(description="https:// or http:// address that takes a POST")
    secret: Reference = Field("", description="Reference of the key that signs")
    timeout: Duration = Field(10.0, gt=0, description="For one attempt")


class Alerts(Section):
    """From which value on a person is told, and how."""

    queued_messages: int = Field(2000, ge=1, description="Messages waiting for one next hop (specification 1.18)")
    oldest_message: Duration = Field(3600.0, gt=0, description="Age of the oldest waiting message")
    connector_failures: int = Field(5, ge=1, description="Failures in a row to connect to one next hop")
    refusals: int = Field(3000, ge=1, description="Refusals within one minute")
    disk_free: Size = Field(1024**3, description="Free space of the state directory below which we warn")
    certificate_days: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (30, 14, 7, 1), strict=False, description="Days before the end of a certificate, CA file or revocation list"
    )
    mail_to: tuple[Mailbox, ...] = Field(
        (), strict=False, description="Addresses that are told by mail"
    )
    repeat: Duration = Field(14400.0, gt=0, description="How often an alert is told again until it is over or taken")
    settle: Duration = Field(120.0, description="How long it must be well before an alert is over")
    webhook: tuple[Webhook, ...] = Field((), strict=False, description="Addresses that are told by HTTP")

    @field_validator("certificate_days", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, int) and not isinstance(value, bool) and value else value or ()


class ConnectorWatch(Section):
    """From which value on what an own server sends is a sign that it is taken over (specification 1.3)."""

    act: Literal["block", "alert", "off"] = Field(
        "block", description="Stop relay over the connector, only raise an alert, or do not look"
    )
    signs: int = Field(2, ge=1, le=5, description="So many signs together stop relay; fewer raise an alert")
    window: Duration = Field(3600.0, ge=60, le=86400, description="What is looked at; at least 5 minutes count")
    least_messages: int = Field(200, ge=1, description="With fewer messages in it nothing is a sign")
    volume_factor: float = Field(10.0, gt=1, description="Times the busiest such window of its history")
    history: Duration = Field(86400.0, ge=60, description="How long it must have been in use to have a history")
    mismatched: float = Field(0.5, gt=0, le=1, description="Share of messages whose author is of another domain")
    unregistered: float = Field(0.3, gt=0, le=1, description="Share of messages of domains that are not registered")
    returned: float = Field(0.3, gt=0, le=1, description="Share of recipients outside that are refused there")


class Role(Section):
    """Who belongs to a role group (specification 1.25)."""

    group: Annotated[str, AfterValidator(_role_group)] = Field(description="The role group")
    account: str = Field("", description="A system account, by name")
    unix_group: str = Field("", description="A system group, by name: all its members")

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if bool(self.account) == bool(self.unix_group):
            raise ValueError("name either an account or a unix_group")
        return self


class Control(Section):
    """The Unix socket by which the command line reaches the service."""

    socket: Path | None = Field(None, strict=False, description="Unset: run/control.sock in the state directory")
    mode: Mode = Field("0600", description="File mode of the socket")
    group: str = Field("", description="Members of this group may do everything as well (needs mode 0660)")
    role: tuple[Role, ...] = Field((), strict=False, description="Accounts that may do what a role group may")

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.role and self.socket is None:
            raise ValueError(
                "with [[control.role]] name a socket outside the state directory, which other accounts cannot enter, "
                'for example socket = "/run/lockgate/control.sock"'
            )
        return self

    @property
    def file_mode(self) -> int:
        """The socket's mode; with roles everybody may connect, for the kernel names who does and the desk refuses."""
        return 0o666 if self.role and "mode" not in self.model_fields_set else int(self.mode, 8)


class Trace(Section):
    """What is kept of messages where an organisation says nothing else."""

    retention: Duration = Field(90 * 86400.0, ge=86400, description="How long the trace is kept")
    masking: Literal["none", "local_parts", "all"] = Field("none", description="What is hidden of people")
    facts: bool = Field(default=True, description="Keep the facts by which a message can be explained and replayed")
    subjects: bool = Field(default=True, description="Keep subjects")
    hold_retention: Duration = Field(30 * 86400.0, gt=0, description="How long held mail is kept, then deleted")


class Dkim(Section):
    """How the keys are looked after that sign what leaves."""

    look: Duration = Field(60.0, gt=0, description="How often DNS is asked for keys that wait for their record")
    keep_record: Duration = Field(
        7 * 86400.0, description="How long the record of a key that signs no more has to stay published"
    )


class Log(Section):
    """Where happenings are told."""

    format: Literal["lines", "json"] = Field("lines", description="Postfix-style lines, or one JSON object a line")
    destination: str = Field("stderr", min_length=1, description='"stderr", "stdout" or a file')


class Metrics(Section):
    """A listener for monitoring: /metrics, /healthz and /readyz, all without a login."""

    address: IpAddress = Field("127.0.0.1", description="Address to listen on")
    port: Port | None = Field(None, description="Port; unset: no listener; 0 takes a free one (run/metrics.json)")
