"""The files for other programs tell the truth: each metric they name is exposed, and the unit is sound."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lockgate.app.exposition import exposition
from lockgate.app.health import Gauges
from lockgate.app.meters import Meters
from lockgate.edge.load import Workload
from lockgate.storage.summary import STATES, QueueSummary

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
RULES = CONTRIB / "prometheus" / "lockgate-alerts.yaml"
DASHBOARD = CONTRIB / "grafana" / "lockgate.json"
UNIT = CONTRIB / "systemd" / "lockgate.service"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """Every sample that one scrape can have: name to label sets."""
    file = tmp_path_factory.mktemp("meters") / "meters.table"
    queue = QueueSummary(dict.fromkeys(STATES, 1), {}, 0)
    gauges = Gauges(True, queue, 0.0, (Workload(0, 0.0),), 0, 0, 0, 0, 0, {"chain.pem": 1.0})
    text = exposition(Meters(file, "desk", 1), gauges).decode()
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def expressions(path: Path) -> list[str]:
    if path.suffix == ".json":
        panels = json.loads(path.read_text("utf-8"))["panels"]
        return [target["expr"] for panel in panels for target in panel["targets"]]
    text = re.sub(r">-\n\s+", "", path.read_text("utf-8"))
    return re.findall(r"expr: (.*(?:\n {10}\S.*)*)", text)


@pytest.mark.parametrize("path", [RULES, DASHBOARD], ids=lambda path: path.name)
def test_every_metric_and_label_named_there_exists(path: Path, samples: dict[str, list[dict[str, str]]]) -> None:
    found = expressions(path)
    assert len(found) >= 12
    for expression in found:
        names = re.findall(r"(lockgate_\w+)(?:\{([^}]*)\})?", expression)
        assert names or "up{" in expression, expression
        for name, selectors in names:
            assert name in samples, f"{name} in {expression}"
            for label, value in re.findall(r'(\w+)=~?"([^"]*)"', selectors):
                if label not in ("instance", "job"):
                    values = {labels.get(label) for labels in samples[name]}
                    assert set(value.split("|")) <= values, f"{name} has no {label}={value}"
        for label in re.findall(r"by \(([^)]*)\)", expression):
            wanted = {part.strip() for part in label.split(",")} - {"instance"}
            assert any(wanted <= set(labels) for name, _ in names for labels in samples[name]), expression


def test_every_metric_is_on_the_dashboard_or_in_a_rule(samples: dict[str, list[dict[str, str]]]) -> None:
    text = " ".join([*expressions(RULES), *expressions(DASHBOARD)])
    named = set(re.findall(r"lockgate_\w+", text))
    exposed = {re.sub(r"_(count|sum)$", "_bucket", name) for name in samples}
    assert exposed - named == {"lockgate_service_info"}


def test_rules_say_what_to_do() -> None:
    text = RULES.read_text("utf-8")
    rules = text.split("- alert: ")[1:]
    assert len(rules) >= 10
    for rule in rules:
        assert "severity:" in rule and "summary:" in rule, rule


def test_every_metric_is_in_the_manual(samples: dict[str, list[dict[str, str]]]) -> None:
    manual = (CONTRIB.parent / "docs" / "monitoring.md").read_text("utf-8")
    for name in {re.sub(r"_(count|sum|bucket)$", "", name) for name in samples}:
        assert f"`{name}" in manual, name


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_unit_is_sound_and_sandboxed(tmp_path: Path) -> None:
    unit = tmp_path / "lockgate.service"
    unit.write_text(UNIT.read_text("utf-8").replace("/opt/lockgate/bin/lockgate", sys.executable), "utf-8")
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert verified.returncode == 0 and not verified.stderr.strip(), verified.stderr
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(unit)], capture_output=True, text=True, timeout=60
    )
    if rated.returncode == 0 and (level := re.search(r"exposure level.*?: ([\d.]+)", rated.stdout)):
        assert float(level[1]) < 2.5


def test_the_unit_matches_what_the_service_does() -> None:
    text = UNIT.read_text("utf-8")
    for wanted in ("Type=notify", "User=lockgate", "ProtectSystem=strict", "AmbientCapabilities=CAP_NET_BIND_SERVICE",
                   "NoNewPrivileges=yes", "KillMode=mixed"):  # fmt: skip
        assert f"\n{wanted}\n" in text
