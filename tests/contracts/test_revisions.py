"""What revisions promise, kept by the files of the service and by the fake alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lockgate.app.policies import Policies
from lockgate.seams import NoPolicy, Overtaken, Revisions
from lockgate.testing.revisions import MemoryRevisions

FIRST, SECOND, THIRD = ({"a.toml": f'[[organisation]]\nname = "{name}"\n'} for name in ("one", "two", "three"))

Edit = Callable[[dict[str, str]], None]


def files_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.toml")}


@pytest.fixture(params=["files", "memory"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Revisions, Edit]:
    """Revisions with FIRST in force, and what edits the operator's folder by hand."""
    if request.param == "memory":
        memory = MemoryRevisions(FIRST)

        def edit_memory(files: dict[str, str]) -> None:
            memory.texts = dict(files)

        return memory, edit_memory
    folder = tmp_path / "policy"
    folder.mkdir()

    def edit(files: dict[str, str]) -> None:
        for path in folder.rglob("*.toml"):
            path.unlink()
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    edit(FIRST)
    policies = Policies(tmp_path / "state", "mx.lockgate.test", folder)
    policies.publish(folder, by="start", at=0.0)
    return policies, edit


def put(revisions: Revisions, files: dict[str, str], after: int, *, discard: bool = False) -> tuple[int, str]:
    revision, folder = revisions.put(
        files, after=after, by="0 root", reason="because", at=5.0, digest="d", discard=discard
    )
    return revision.number, folder


def test_numbers_go_up_and_earlier_ones_stay(kept: tuple[Revisions, Edit]) -> None:
    revisions, _ = kept
    assert put(revisions, SECOND, 1) == (2, "")
    assert revisions.in_force().files == SECOND and revisions.at(1).files == FIRST
    assert (revisions.in_force().reason, revisions.in_force().by, revisions.in_force().before) == (
        "because", "0 root", 1,
    )  # fmt: skip
    assert [one.number for one in revisions.known(10)] == [2, 1]
    assert [one.number for one in revisions.known(1)] == [2]
    with pytest.raises(NoPolicy, match="no revision 7"):
        revisions.at(7)


def test_nothing_is_undone_that_was_not_known(kept: tuple[Revisions, Edit]) -> None:
    revisions, _ = kept
    put(revisions, SECOND, 1)
    with pytest.raises(Overtaken, match="revision 2 is in force now, not 1"):
        put(revisions, THIRD, 1)
    assert revisions.in_force().number == 2 and len(revisions.known(10)) == 2


def test_the_folder_is_kept_in_step(kept: tuple[Revisions, Edit]) -> None:
    revisions, _ = kept
    put(revisions, SECOND, 1)
    assert revisions.folder() == SECOND and not revisions.folder_edited()
    more = {**THIRD, "deep/er/b.toml": "# b\n"}
    put(revisions, more, 2)
    assert revisions.folder() == more
    put(revisions, FIRST, 3)
    assert revisions.folder() == FIRST


def test_edits_by_hand_are_never_overwritten_unasked(kept: tuple[Revisions, Edit]) -> None:
    revisions, edit = kept
    edit({"a.toml": "# edited\n"})
    assert revisions.folder_edited()
    with pytest.raises(Overtaken, match="edited"):
        put(revisions, SECOND, 1)
    assert revisions.in_force().number == 1 and revisions.folder() == {"a.toml": "# edited\n"}
    assert put(revisions, {"a.toml": "# edited\n"}, 1)[0] == 2, "what was edited may be put in force"
    edit({"a.toml": "# again\n"})
    assert put(revisions, SECOND, 2, discard=True) == (3, "")
    assert revisions.folder() == SECOND
