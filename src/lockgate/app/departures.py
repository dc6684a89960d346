"""What each worker does to copies on their way out: the finishes of departing mail, in their order."""

from __future__ import annotations

from collections.abc import Callable

from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile
from lockgate.app.dkim import key_files
from lockgate.flow.departure import Departure
from lockgate.flow.firewall import put_internal
from lockgate.flow.leading_back import WaysBack
from lockgate.flow.results import put_results
from lockgate.flow.sealing import Sealing
from lockgate.flow.signing import Signing
from lockgate.flow.signing_keys import KeyRing
from lockgate.policy.policy import Policy
from lockgate.seams import Journal


def departure_of(
    config: OperatorFile, policy: Callable[[], Policy], ways_back: WaysBack, journal: Journal
) -> Departure:
    """The departure of one worker; our signature comes last, for it covers what the others have added."""
    keys = KeyRing(policy, key_files(config))
    finishes = (put_internal, put_results, Sealing(keys, journal).finish, Signing(keys, SystemClock()).finish)
    return Departure(finishes, ways_back.rewrite)
