"""What was answered is remembered as long as it is true, and what is asked again and again longest."""

from __future__ import annotations

from collections import OrderedDict

from lockgate.seams import DnsAnswer

Key = tuple[str, str]
"""Name in lower case, and type."""

_OCTETS_OF_ONE = 512
"""So much text counts as one more answer: a few giant ones must not fill the memory."""

_NEW = 4
"""One part in so many is for answers that nobody asked for twice."""


class Memory:
    """At most `size` answers of ordinary length; 0: none at all.

    Mail of a thousand invented domains fills the part for new answers only: an answer that was of use a second time
    is not pushed out by those that never are.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._new = _Part()
        self._used = _Part()

    def __len__(self) -> int:
        return len(self._new.answers) + len(self._used.answers)

    def recall(self, key: Key, now: float) -> DnsAnswer | None:
        """The answer, if it is still true at `now` (seconds of a clock that never jumps)."""
        known = self._used.answers.get(key)
        if known is not None:
            if known.until > now:
                self._used.answers.move_to_end(key)
                return known
            self._used.drop(key)
            return None
        known = self._new.answers.get(key)
        if known is None:
            return None
        self._new.drop(key)
        if known.until <= now:
            return None
        self._used.put(key, known)
        self._used.shrink(self._size - self._size // _NEW)
        self._new.shrink(self._size - self._used.weight)
        return known

    def keep(self, key: Key, answer: DnsAnswer) -> None:
        """Remember an answer; the oldest ones make room."""
        if not self._size:
            return
        self._used.drop(key)
        self._new.drop(key)
        self._new.put(key, answer)
        # The other part's room is lent as long as it is not needed.
        self._new.shrink(self._size - self._used.weight)


class _Part:
    """Answers, the one that was longest not asked for first."""

    def __init__(self) -> None:
        self.answers: OrderedDict[Key, DnsAnswer] = OrderedDict()
        self.weight = 0

    def put(self, key: Key, answer: DnsAnswer) -> None:
        self.answers[key] = answer
        self.weight += _weight(answer)

    def drop(self, key: Key) -> None:
        answer = self.answers.pop(key, None)
        if answer is not None:
            self.weight -= _weight(answer)

    def shrink(self, weight: int) -> None:
        while self.weight > weight and self.answers:
            self.drop(next(iter(self.answers)))


def _weight(answer: DnsAnswer) -> int:
    octets = sum([len(record) for record in answer.records if isinstance(record, str)])
    return 1 + octets // _OCTETS_OF_ONE
