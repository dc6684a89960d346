"""By which way a copy goes on: actions of mail flow rules (specification 1.15.9)."""

from __future__ import annotations

from pydantic import BaseModel, Field

from lockgate.mail.ruling import Effects
from lockgate.policy.kinds import action
from lockgate.policy.rules import Change
from lockgate.policy.spelling import DOCUMENT, ObjectName


@action("route_message_outbound_connector", "Send the copy over this outbound connector, whatever else would be chosen")
class RouteMessageOutboundConnector(BaseModel):
    """Beats every other choice (specification 2.4 rank 1)."""

    model_config = DOCUMENT

    connector: ObjectName = Field(description="Name of an outbound connector of the organisation", examples=["NOLA"])

    def compile(self) -> Change:
        """The change of the effects; the rule's name is added by the stage."""

        def change(effects: Effects) -> Effects:
            return Effects(self.connector, effects.rule)

        return change

    def outbound_connectors(self) -> tuple[str, ...]:
        """The connectors it names; compiling checks that they exist."""
        return (self.connector,)
