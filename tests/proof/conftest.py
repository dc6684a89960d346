"""A proof that could not be run is no proof: `make proof` counts what is skipped here as failed."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

SKIPS_FAIL = "LOCKGATE_SKIPS_FAIL"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get(SKIPS_FAIL):
        report.outcome = "failed"
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.longrepr = f"{why} (with {SKIPS_FAIL} set, this is a failure)"
    return report
