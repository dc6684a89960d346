"""The published SPF test suite (openspf), as far as it is here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lockgate.probes.trust.spf.check import check_host
from probes.spf_zone import SuiteZone

FIXTURES = Path(os.environ.get("LOCKGATE_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "fixtures"))
SUITE = FIXTURES / "spf" / "rfc7208-dev.yml"


def cases():
    if not SUITE.exists():
        return []
    yaml = pytest.importorskip("yaml")
    found = []
    for document in yaml.safe_load_all(SUITE.read_text("utf-8")):
        for name, test in (document or {}).get("tests", {}).items():
            found.append(pytest.param(document["zonedata"], test, id=f"{name}"))
    return found


@pytest.mark.skipif(not SUITE.exists(), reason="the published SPF suite is not here (LOCKGATE_FIXTURES)")
@pytest.mark.parametrize(("zone", "case"), cases())
async def test_suite(zone, case):
    sender = case["mailfrom"]
    domain = sender.rpartition("@")[2] if sender else case["helo"]
    found = await check_host(
        SuiteZone(zone), case["host"], domain, sender or f"postmaster@{case['helo']}", case["helo"],
        receiver="receiver.test",
    )  # fmt: skip
    wanted = case["result"] if isinstance(case["result"], list) else [case["result"]]
    assert found.verdict.value in wanted, found
    if "explanation" in case and case["explanation"] != "DEFAULT":
        assert found.explanation == case["explanation"]
