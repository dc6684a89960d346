"""The desk's section on certificates, wired."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lockgate.app.clock import SystemClock
from lockgate.app.credentials import SHOWN, Credential, mend
from lockgate.flow.desk.certificates import CertificateDesk
from lockgate.wire.bundles import ISSUER_MISSING

if TYPE_CHECKING:
    from lockgate.app.office import Office


def certificate_desk(office: Office) -> CertificateDesk:
    """Certificates at the desk."""
    clock = SystemClock()

    async def rows() -> list[dict[str, Any]]:
        found = await asyncio.to_thread(office.credentials.all, anew=True)
        worrying = {which for _, which in office.credentials.wrong()}
        return [row_of(one, clock.now(), worrying) for one in found]

    return CertificateDesk(office.acme, rows, office.audit, clock)


def row_of(one: Credential, now: float, worrying: set[str]) -> dict[str, Any]:
    """One as every face shows it; `finding` says that somebody should look at it."""
    row = msgspec.to_builtins(one)
    end, ordered = row.pop("end"), row.pop("ordered")
    finding = bool({one.file, f"{one.file} {one.serial}".rstrip()} & worrying)
    return {
        **row,
        "expires": end,
        "days": round((end - now) / 86400, 1) if end else None,
        "order": Path(one.file).stem if ordered else "",
        "finding": finding or (one.kind == SHOWN and one.missing.startswith(ISSUER_MISSING)),
        "do": mend(one) if finding else "",
    }
