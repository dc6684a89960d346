"""The last validation of each connector outlives the process, and what is damaged is put aside."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lockgate.mail.validation import StepName, Validation, failed, passed
from lockgate.storage import validations
from lockgate.storage.validations import ValidationFile
from lockgate.testing.examining import MemoryValidations


def validation(connector: str = "HQ", organisation: str = "contoso", at: float = 1000.0) -> Validation:
    steps = (passed(StepName.SCOPE, "it is for contoso.com"), failed(StepName.DIAL, "no answer", "See.", port=25))
    return Validation(
        organisation, connector, at, "0 root", False, "a@contoso.com", ("b@contoso.com",), True, "revision 3",
        "ab12", steps,
    )  # fmt: skip


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path):
    return ValidationFile(tmp_path / "state" / "validations.json") if request.param == "file" else MemoryValidations()


def test_the_last_one_of_each_connector_is_kept(store) -> None:
    assert store.last("contoso", "HQ") is None
    store.put(validation())
    store.put(validation("NOLA"))
    store.put(validation(organisation="fabrikam"))
    newer = validation(at=2000.0)
    store.put(newer)
    assert store.last("contoso", "HQ") == newer
    assert store.last("contoso", "NOLA").at == 1000.0
    assert store.last("fabrikam", "HQ").organisation == "fabrikam"


def test_another_process_sees_it_and_a_renamed_case_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "validations.json"
    first, second = ValidationFile(path), ValidationFile(path)
    first.put(validation())
    assert second.last("contoso", "hq") == validation()
    first.put(validation(at=3000.0))
    assert second.last("contoso", "HQ").at == 3000.0
    assert [one.name for one in tmp_path.iterdir()] == ["validations.json"], "no half-written file stays"


def test_a_damaged_file_is_put_aside_and_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "validations.json"
    path.write_text('[{"organisation":')
    store = ValidationFile(path)
    assert store.last("contoso", "HQ") is None
    store.put(validation())
    assert store.last("contoso", "HQ") == validation()
    assert (tmp_path / "validations.json.unreadable").read_text() == '[{"organisation":'
    assert msgspec.json.decode(path.read_bytes(), type=list[Validation]) == [validation()]


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validations, "MOST", 3)
    store = ValidationFile(tmp_path / "validations.json")
    for number in range(5):
        store.put(validation(f"C{number}", at=float(number)))
    assert [store.last("contoso", f"C{number}") is not None for number in range(5)] == [False, False, True, True, True]
