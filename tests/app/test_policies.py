"""The policy folder and the revisions: a start never undoes what was published, and never overlooks an edit."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.app import policies as module
from lockgate.app.folder import read_documents, write_documents
from lockgate.app.policies import Policies, PolicyInForce
from lockgate.policy.problems import Invalid

HOST = "mx.lockgate.test"


def document(name: str) -> str:
    return f'# {name}\n[[organisation]]\nname = "{name}"\n'


class Place:
    """A state directory and a policy folder; every `start` is that of a new process."""

    def __init__(self, folder: Path) -> None:
        self.state, self.folder = folder / "state", folder / "policy"
        self.folder.mkdir()
        self.write("a.toml", "one")
        self.start()

    @property
    def policies(self) -> Policies:
        return Policies(self.state, HOST, self.folder)

    def write(self, name: str, organisation: str) -> None:
        (self.folder / name).write_text(document(organisation))

    def start(self) -> int:
        return self.policies.publish(self.folder, by="start", at=1.0)[0].number

    def put(self, **files: str) -> tuple[int, str]:
        texts = {f"{name}.toml": document(text) if name == "a" else f"# {text}\n" for name, text in files.items()}
        now = self.policies.in_force().number
        revision, folder = self.policies.put(
            texts, after=now, by="0 root", reason="", at=2.0, digest="", discard=False
        )
        return revision.number, folder


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_start_without_edits_changes_nothing(place: Place) -> None:
    assert place.put(a="two", b="three") == (2, "")
    assert place.start() == 2
    assert read_documents(place.folder) == place.policies.in_force().files


def test_a_start_takes_up_what_was_edited_while_nothing_ran(place: Place) -> None:
    place.put(a="two")
    place.write("a.toml", "edited")
    assert place.start() == 3
    assert place.policies.in_force().files == {"a.toml": document("edited")}
    assert place.policies.in_force().before == 2


def test_going_back_by_hand_is_an_edit_too(place: Place) -> None:
    place.put(a="two")
    place.write("a.toml", "one")  # as `git checkout` would
    assert place.policies.folder_edited()
    assert place.start() == 3
    assert place.policies.in_force().files == {"a.toml": document("one")}


def test_a_folder_that_is_not_ours_never_undoes_a_write(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "may_write", lambda folder: False)
    number, said = place.put(a="two")
    assert number == 2 and "not ours to write" in said
    assert (place.folder / "a.toml").read_text() == document("one")
    assert place.start() == 2, "the old folder is no edit"
    assert place.put(a="three")[0] == 3, "and it is in nobody's way"
    assert place.start() == 3
    place.write("a.toml", "edited")
    assert place.start() == 4
    monkeypatch.undo()
    place.put(a="five")
    assert (place.folder / "a.toml").read_text() == document("five"), "once it is ours it is kept in step"


@pytest.mark.parametrize("last", [1, 2])
def test_a_write_of_the_folder_that_was_cut_short_is_completed(
    place: Place, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    place.put(a="two", b="two", c="two")

    def cut_short(folder: Path, before: dict[str, str], after: dict[str, str]) -> None:
        some = dict(list(after.items())[:last])
        write_documents(folder, {name: before[name] for name in some}, some)
        raise OSError("no space left")

    monkeypatch.setattr(module, "write_documents", cut_short)
    number, said = place.put(a="three", b="three", d="three")
    assert number == 3 and "no space left" in said
    monkeypatch.undo()
    assert not place.policies.folder_edited()
    assert place.start() == 3
    assert read_documents(place.folder) == place.policies.in_force().files
    assert set(read_documents(place.folder)) == {"a.toml", "b.toml", "d.toml"}


def test_an_edit_in_the_midst_of_a_write_that_was_cut_short_is_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put(a="two", b="two")

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(module, "write_documents", fail)
    place.put(a="three", b="three")
    monkeypatch.undo()
    place.write("b.toml", "edited")
    assert place.policies.folder_edited()


def test_an_installation_from_before_knows_its_folder_by_its_texts(place: Place) -> None:
    (place.state / "folder.held").unlink()
    assert place.start() == 1
    place.write("a.toml", "edited")
    assert place.start() == 2


def test_discarded_edits_are_kept_aside(place: Place) -> None:
    place.write("a.toml", "edited")
    place.policies.put(
        {"a.toml": document("two")}, after=1, by="", reason="", at=0.0, digest="", discard=True
    )
    assert (place.state / "discarded" / "before-00000002" / "a.toml").read_text() == document("edited")
    assert (place.folder / "a.toml").read_text() == document("two")


def test_links_and_modes_of_the_folder_stay(place: Place, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.toml"
    real.write_text(document("one"))
    real.chmod(0o640)
    (place.folder / "a.toml").unlink()
    (place.folder / "a.toml").symlink_to(real)
    place.put(a="two")
    assert (place.folder / "a.toml").is_symlink() and real.read_text() == document("two")
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_broken_documents_change_nothing(place: Place) -> None:
    (place.folder / "a.toml").write_text('[[organisation]]\nnmae = "x"\n[[accepted_domain]]\ndomain_name = "@"\n')
    with pytest.raises(Invalid) as caught:
        place.start()
    assert len(caught.value.problems) >= 3
    assert place.policies.in_force().number == 1


def test_a_lost_pointer_never_overwrites_history(place: Place) -> None:
    place.put(a="two")
    (place.state / "current.json").unlink()
    assert place.start() == 3
    assert place.policies.at(2).files == {"a.toml": document("two")}


def test_large_revisions_are_packed_and_read_like_others(place: Place) -> None:
    place.put(a="two", b="x" * 200_000)
    place.put(a="three")
    (packed,) = place.state.glob("*.zst")
    assert packed.stat().st_size < 10_000
    assert len(place.policies.at(2).files["b.toml"]) == 200_003
    assert [one.number for one in place.policies.known(9)] == [3, 2, 1]
    assert place.put(a="four")[0] == 4


def test_two_processes_never_publish_one_number(place: Place, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from lockgate.app.policies import Policies, Overtaken\n"
        "policies = Policies(Path(sys.argv[1]), 'mx.lockgate.test', None)\n"
        "done = 0\n"
        "while done < 40:\n"
        "    now = policies.in_force().number\n"
        "    try: policies.put({'a.toml': f'# {sys.argv[2]} {done}'}, after=now, by=sys.argv[2], reason='', at=0.0,"
        " digest='', discard=False)\n"
        "    except Overtaken: continue\n"
        "    done += 1\n"
    )
    source = str(Path(__file__).resolve().parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source}
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(place.state), who], env=environment) for who in "xy"
    ]
    assert [process.wait(60) for process in running] == [0, 0]
    known = place.policies.known(1000)
    assert [one.number for one in known] == list(range(81, 0, -1))
    for who in "xy":
        mine = [place.policies.at(one.number).files["a.toml"] for one in reversed(known) if one.by == who]
        assert mine == [f"# {who} {n}" for n in range(40)]


async def test_a_worker_takes_up_what_is_published_and_complains_of_what_it_cannot_read(place: Place) -> None:
    complaints: list[str] = []
    policy = PolicyInForce(place.policies, complaints.append)
    assert not await policy.look() and policy().revision == 1
    place.put(a="two")
    assert await policy.look() and policy().revision == 2 and list(policy().organisations) == ["two"]
    current = place.state / "current.json"
    kept = current.read_bytes()
    current.write_bytes(b"{")
    assert [await policy.look() for _ in range(3)] == [False] * 3
    assert len(complaints) == 1 and "cannot be read" in complaints[0] and policy().revision == 2
    current.write_bytes(kept.replace(b'"number":2', b'"number":3'))
    assert await policy.look() and policy().revision == 3, "it is looked at again when the disk is well"
