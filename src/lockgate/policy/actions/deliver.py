"""Where it goes: actions that choose the way out (specification 1.15.9)."""

from __future__ import annotations

from pydantic import Field, RootModel

from lockgate.mail.ruling import Effects
from lockgate.policy.kinds import action
from lockgate.policy.rules import Change
from lockgate.policy.spelling import ObjectName


@action("route_message_outbound_connector", "The message leaves by this outbound connector, whatever else would match")
class RouteMessageOutboundConnector(RootModel[ObjectName], frozen=True):
    """Specification 1.15.9 and 2.4 rank 1; usually a connector that is_transport_rule_scoped."""

    root: ObjectName = Field(description="Name of an outbound connector of the organisation.", examples=["NOLA"])

    def refers_to(self) -> tuple[tuple[str, str], ...]:
        """The connector must exist when the rule is saved."""
        return (("outbound_connector", self.root),)

    def compile(self) -> Change:
        """Ask the route stage for the connector."""
        connector = self.root

        def change(effects: Effects) -> Effects:
            return effects if effects.connector == connector else Effects(connector, effects.rule)

        return change
