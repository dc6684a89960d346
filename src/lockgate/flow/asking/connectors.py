"""What can be asked about connectors besides their properties."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class ConnectorValidate(Ask, frozen=True, tag="connector_validate"):
    """Does this outbound connector work? Servers are dialled now, and with `mail` a test message is sent.

    `to` are the test recipients (none: those of the last validation), `sender` the envelope sender ("": the one made
    of the default domain; "<>": none). `documents` is a policy that is not in force, {file name: TOML text}. With
    `what_if` nothing is dialled and nothing kept: the answer says what would be tried.
    """

    name: str
    to: tuple[str, ...] = ()
    sender: str = ""
    organisation: str = ""
    documents: dict[str, str] | None = None
    mail: bool = True
    what_if: bool = False
