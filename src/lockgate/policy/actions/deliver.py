"""Where it goes: actions that choose the way out (specification 1.15.9)."""

from __future__ import annotations

from typing import Literal

import msgspec
from pydantic import Field, RootModel

from lockgate.mail.ruling import Effects
from lockgate.policy.kinds import action
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Change
from lockgate.policy.spelling import ObjectName


@action("route_message_outbound_connector", "The message leaves by this outbound connector, whatever else would match")
class RouteMessageOutboundConnector(RootModel[ObjectName], frozen=True):
    """Specification 1.15.9 and 2.4 rank 1; usually a connector that is_transport_rule_scoped."""

    root: ObjectName = Field(description="Name of an outbound connector of the organisation.", examples=["NOLA"])

    def refers_to(self) -> tuple[tuple[str, str], ...]:
        """The connector must exist when the rule is saved."""
        return (("outbound_connector", self.root),)

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Ask the route stage for the connector."""
        connector, name = self.root, rule.name

        def change(effects: Effects) -> Effects:
            if effects.connector == connector:
                return effects
            return msgspec.structs.replace(effects, connector=connector, rule=name)

        return change


@action("route_message_outbound_require_tls", "The message leaves over TLS only; it waits where there is none")
class RouteMessageOutboundRequireTls(RootModel[Literal[True]], frozen=True):
    """Specification 1.15.9: any certificate will do, but nothing leaves in plain text."""

    root: Literal[True] = Field(description="Only `true` makes sense.", examples=[True])

    def compile(self) -> Change:
        """Ask the route stage for encryption."""

        def change(effects: Effects) -> Effects:
            return msgspec.structs.replace(effects, require_tls=True)

        return change
