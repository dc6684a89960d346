"""The operator's file on MTA-STS: policies of others, and the listener that serves our own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from lockgate.app.config_kinds import IpAddress, Port, Section
from lockgate.app.units import Duration


class MtaSts(Section):
    """What other domains demand of those who send to them (RFC 8461), and what we publish of ours."""

    fetch: bool = Field(default=True, description="Find, keep and obey the policies of other domains")
    first_answer: Duration = Field(
        10.0, gt=0, le=60, description="How long mail waits for the policy of a domain that nothing is known of"
    )
    fetch_timeout: Duration = Field(60.0, gt=0, le=300, description="How long the fetch of a policy may take in all")
    retry: Duration = Field(300.0, ge=1, description="How long a failed fetch is not tried again (RFC 8461 3.3)")
    refresh: Duration = Field(
        86400.0, ge=60, description="How old a kept policy becomes before it is fetched anew although nothing changed"
    )
    https_port: Port = Field(443, description="Port of the web servers of others; another one only for tests")
    addresses: tuple[IpAddress, ...] = Field(
        ("0.0.0.0",), strict=False, min_length=1, description="Addresses on which our own policies are served"
    )
    port: Port | None = Field(
        None, description="HTTPS port for our own policies, 443 for the world; unset: they are not served here"
    )
    next_keys: tuple[Annotated[Path, Field(strict=False)], ...] = Field(
        (),
        strict=False,
        description="PEM files of the keys (or certificates) that are shown next; TLSA lines name them too",
    )
