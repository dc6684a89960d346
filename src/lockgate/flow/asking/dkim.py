"""What can be asked about the keys that sign what leaves."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class DkimKeys(Ask, frozen=True, tag="dkim_keys"):
    """The keys of a domain ("": of all), of one organisation or of all; with `revoked` also those never used again."""

    domain: str = ""
    organisation: str = ""
    revoked: bool = False


class DkimDns(Ask, frozen=True, tag="dkim_dns"):
    """The TXT records that have to be published for a domain."""

    domain: str
    organisation: str = ""


class DkimCheck(Ask, frozen=True, tag="dkim_check"):
    """Does DNS have the records of a domain's keys ("": of all domains)? It is asked now."""

    domain: str = ""
    organisation: str = ""


class DkimRotate(Ask, frozen=True, tag="dkim_rotate"):
    """Make new keys for a domain; they sign when their records are seen in DNS."""

    domain: str
    organisation: str = ""
    what_if: bool = False


class DkimRevoke(Ask, frozen=True, tag="dkim_revoke"):
    """Never use the key with this selector again, and delete it."""

    domain: str
    selector: str
    organisation: str = ""
    what_if: bool = False
