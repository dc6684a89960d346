"""Connectors are tried in the desk's process: it dials as the same account, from the same addresses, as delivery."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from lockgate.app.clock import SystemClock
from lockgate.app.departures import departure_of
from lockgate.app.local import known_here
from lockgate.app.names import resolver_of
from lockgate.app.srs_key import ways_back_of
from lockgate.app.ways import courier_settings, keeps_of, pools_of, read_secret
from lockgate.couriers.smtp import SmtpCourier
from lockgate.couriers.validate import SmtpExaminer
from lockgate.flow.desk.connectors import ConnectorDesk
from lockgate.flow.desk.explain import Revisions
from lockgate.flow.hops import plan
from lockgate.flow.validating import Validating
from lockgate.mail.identity import network_id
from lockgate.seams import StsPolicies
from lockgate.storage.validations import ValidationFile

if TYPE_CHECKING:
    from lockgate.app.config import OperatorFile
    from lockgate.app.office import Office


def validations_of(config: OperatorFile) -> ValidationFile:
    """The results that are kept."""
    return ValidationFile(config.state_directory / "validations.json")


def connector_desk(
    office: Office, revisions: Revisions, validations: ValidationFile, sts: StsPolicies | None = None
) -> ConnectorDesk:
    """The section that tries connectors. `sts` is what delivery asks for MTA-STS policies, None if it asks nobody."""
    config, journal, clock = office.config, office.journal, SystemClock()
    settings = courier_settings(config, office.listening)
    pools, keeps = pools_of(config), keeps_of(config)
    ways_back = ways_back_of(config)
    validating = Validating(
        examiner=SmtpExaminer(lambda: resolver_of(config, clock), settings, clock, sts=sts),
        courier=lambda: SmtpCourier(resolver_of(config, clock), settings, clock, journal, sts=sts),
        plan=lambda policy, route: plan(policy, route, pools, read_secret, keeps),
        dress=departure_of(config, office.policy, ways_back, journal).dress,
        ask=known_here(config, clock, ways_back),
        clock=clock,
        new_id=lambda: network_id(secrets.token_bytes(10), clock.now()),
    )
    return ConnectorDesk(revisions, validating, validations, office.audit, clock, journal)
