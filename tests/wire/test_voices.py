"""Many lines speak at the end of a turn, in their order; few speak at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lockgate.wire.voices import Voices


class Heard:
    """A line that notes when it speaks."""

    def __init__(self, name: str, said: list[str]) -> None:
        self._name, self._said = name, said

    def speak(self) -> None:
        self._said.append(self._name)


def test_many_speak_when_the_turn_is_over_in_their_order():
    at_end: list[Callable[[], None]] = []
    said: list[str] = []
    voices = Voices(at_end.append, lambda: 3)
    for name in "abc":
        voices.add(Heard(name, said))
    assert (said, len(at_end)) == ([], 1)
    at_end.pop()()
    assert said == ["a", "b", "c"]
    voices.add(Heard("d", said))
    assert (said[3:], len(at_end)) == ([], 1), "the next turn has an end of its own"
    at_end.pop()()
    assert said[3:] == ["d"]


def test_there_is_time_for_other_things_between_two():
    at_end: list[Callable[[], None]] = []
    said: list[str] = []
    voices = Voices(at_end.append, lambda: 3, lambda: said.append("look"))
    for name in "ab":
        voices.add(Heard(name, said))
    at_end.pop()()
    assert said == ["a", "look", "b", "look"]


def test_few_speak_at_once():
    at_end: list[Callable[[], None]] = []
    said: list[str] = []
    voices = Voices(at_end.append, lambda: 2)
    voices.add(Heard("a", said))
    assert (said, at_end) == (["a"], [])


def test_whoever_speaks_leads_to_more_in_the_turn_after():
    at_end: list[Callable[[], None]] = []
    said: list[str] = []
    voices = Voices(at_end.append, lambda: 9)

    class Echo(Heard):
        def speak(self) -> None:
            super().speak()
            voices.add(Heard("answer", said))

    voices.add(Echo("call", said))
    at_end.pop()()
    assert said == ["call"]
    at_end.pop()()
    assert said == ["call", "answer"]


def test_when_it_is_full_a_part_speaks_and_the_rest_a_little_later():
    at_end: list[Callable[[], None]] = []
    later: list[Callable[[], None]] = []
    said: list[str] = []
    full = False
    voices = Voices(at_end.append, lambda: 100, full=lambda: full, later=later.append)
    for number in range(80):
        voices.add(Heard(f"{number}", said))
    full = True
    at_end.pop()()
    assert (len(said), at_end, len(later)) == (32, [], 1)
    voices.add(Heard("late", said))
    assert not at_end, "whoever comes meanwhile waits with them"
    later.pop()()
    assert len(said) == 64
    later.pop()()
    assert said == [*(f"{number}" for number in range(80)), "late"]
    voices.add(Heard("few", said))
    assert (at_end, len(later)) == ([], 1), "nor do a few speak at once"
    full = False
    later.pop()()
    voices.add(Heard("more", said))
    assert (len(at_end), later) == (1, [])


def test_one_that_fails_silences_nobody():
    at_end: list[Callable[[], None]] = []
    said: list[str] = []
    voices = Voices(at_end.append, lambda: 3)

    class Broken:
        def speak(self) -> None:
            raise RuntimeError("a mistake of ours")

    for speaker in (Heard("a", said), Broken(), Heard("b", said)):
        voices.add(speaker)
    with pytest.raises(RuntimeError):
        at_end.pop()()
    at_end.pop()()
    assert (said, at_end) == (["a", "b"], [])
