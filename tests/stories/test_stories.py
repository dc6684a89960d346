"""Every story beside this file comes true; and a story that does not is told so."""

from __future__ import annotations

from pathlib import Path

import pytest

from stories.story import differences, read_story

STORIES = sorted(Path(__file__).parent.glob("*.story"))


@pytest.mark.parametrize("path", STORIES, ids=[path.stem for path in STORIES])
def test_story(path: Path) -> None:
    assert differences(read_story(path)) == []


def test_a_story_that_does_not_come_true_is_told_so() -> None:
    story = read_story(STORIES[0])
    story.expected = [(whom, "refused 9.9.9") for whom, _ in story.expected]
    assert any("expected refused 9.9.9" in line for line in differences(story))


def test_a_line_that_is_not_understood_has_its_number(tmp_path: Path) -> None:
    (tmp_path / "odd.story").write_text("# a remark\nexpects nothing\n")
    with pytest.raises(ValueError, match="line 2"):
        read_story(tmp_path / "odd.story")
