"""Every need of the world has a fake, and whoever fills it has every method that the need names."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from lockgate import seams

ROOT = Path(__file__).resolve().parents[2]

KEEPERS = {
    "Clock": ("lockgate.app.clock:SystemClock", "lockgate.testing.clock:HandClock"),
    "Journal": ("lockgate.app.journal:LineJournal", "lockgate.testing.journal:ListJournal"),
    "Audit": ("lockgate.app.audit:StoredAudit", "lockgate.testing.journal:ListAudit"),
    "Blocks": ("lockgate.storage.blocks:BlockFile", "lockgate.testing.blocks:MemoryBlocks"),
    "Keeping": ("lockgate.storage.keeping:KeeperKeeping", "lockgate.testing.keeping:ListedKeeping"),
    "Spool": ("lockgate.storage.client:KeeperSpool", "lockgate.testing.memory:MemorySpool"),
    "Directory": ("lockgate.storage.directory:DirectoryTable", "lockgate.testing.memory:MemoryDirectory"),
    "Recipients": ("lockgate.storage.recipients:RecipientStore", "lockgate.testing.recipients:MemoryRecipients"),
    "Lists": ("lockgate.storage.lists:ListFiles", "lockgate.testing.lists:MemoryLists"),
    "ListKeeper": ("lockgate.storage.lists:ListStore", "lockgate.testing.lists:MemoryListKeeper"),
    "Verifier": ("lockgate.couriers.verify:SmtpVerifier", "lockgate.testing.recipients:ListedVerifier"),
    "Callout": ("lockgate.probes.directory.callout:NextHopCallout", "lockgate.testing.recipients:ListedCallout"),
    "Authenticator": ("lockgate.probes.trust.sender:SenderCheck", "lockgate.testing.sender:ListedAuthenticator"),
    "TlsResults": ("lockgate.storage.report_batches:Tally", "lockgate.testing.reports:ListedTlsResults"),
    "StsPolicies": ("lockgate.probes.trust.sts:StsKeeper", "lockgate.testing.sts:ListedStsPolicies"),
    "StsShelf": ("lockgate.storage.sts_shelf:StsFile", "lockgate.testing.sts:MemoryShelf"),
    "Examiner": ("lockgate.couriers.validate:SmtpExaminer", "lockgate.testing.examining:ListedExaminer"),
    "Validations": (
        "lockgate.storage.validations:ValidationFile", "lockgate.testing.examining:MemoryValidations",
    ),
    "Courier": ("lockgate.couriers.smtp:SmtpCourier", "lockgate.testing.courier:RecordingCourier"),
    "Revisions": ("lockgate.app.policies:Policies", "lockgate.testing.revisions:MemoryRevisions"),
    "SigningKeys": ("lockgate.flow.signing_keys:KeyRing", "lockgate.testing.signing:ListedKeys"),
    "KeyStore": ("lockgate.storage.signing_keys:SigningKeyFiles", "lockgate.testing.signing_store:MemoryKeys"),
    "Resolver": ("lockgate.probes.trust.resolver:DnsResolver", "lockgate.testing.dns:ZoneResolver"),
}
"""Who keeps a seam really, and who in tests."""

PART_OF_ANOTHER = {"BodyWriter", "ListView", "Loading"}
"""Made by a Spool, by Recipients or by Lists, and tested with them."""


def protocols() -> list[str]:
    pages = sorted((ROOT / "src" / "lockgate" / "seams").glob("*.py"))
    return [
        node.name
        for page in pages
        for node in ast.parse(page.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "Protocol" for base in node.bases)
    ]


def test_every_need_is_in_the_table() -> None:
    assert set(protocols()) - PART_OF_ANOTHER == set(KEEPERS)


@pytest.mark.parametrize("named", [keeper for both in KEEPERS.values() for keeper in both])
def test_whoever_fills_a_need_has_all_of_it(named: str) -> None:
    seam = next(name for name, both in KEEPERS.items() if named in both)
    place, _, name = named.partition(":")
    found = getattr(importlib.import_module(place), name)
    for method, wanted in inspect.getmembers(getattr(seams, seam), inspect.isfunction):
        if method.startswith("_"):
            continue
        have = getattr(found, method, None)
        assert have is not None, f"{named} has no {method}"
        assert inspect.iscoroutinefunction(have) == inspect.iscoroutinefunction(wanted), f"{named}.{method}"
        asked = list(inspect.signature(wanted).parameters.values())
        given = inspect.signature(have).parameters
        for parameter in asked:
            keywords = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in given.values())
            assert parameter.name in given or keywords, f"{named}.{method} does not take {parameter.name}"
