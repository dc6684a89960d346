"""The documents of docs/devices.md are sound as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lockgate.testing.builders import policy_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "devices.md").read_text("utf-8")
SAMPLES = [text for text in re.findall(r"```toml\n(.*?)```", PAGE, re.S) if "hostname" not in text]
BASE = """
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[accepted_domain]]
domain_name = "plant.contoso.com"
vouched_by_operator = true
"""


@pytest.mark.parametrize("sample", SAMPLES)
def test_each_is_sound(sample: str, tmp_path: Path) -> None:
    if 'ca_file = "' in sample:
        authority = tmp_path / "own-ca.pem"
        authority.write_text("")
        sample = sample.replace("/etc/lockgate/own-ca.pem", str(authority))
    organisation = "" if "[[organisation]]" in sample else '[[organisation]]\nname = "contoso"\n'
    policy = policy_of(organisation + BASE + sample)
    connectors = policy.organisations["contoso"].inbound
    assert len(connectors) == sample.count("[[inbound_connector]]")
    assert all(one.on_premises for one in connectors.values())


def test_there_are_some() -> None:
    assert len(SAMPLES) == 4
