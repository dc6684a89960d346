"""What mail flow rules pay for words and expressions: 300 of them over 29 KB, mails all different, half not ASCII.

    python bench/patterns.py

Prints the mean time of one mail in a fresh process (folding and encoding included), for 10 to 1,000 needles, and of the
same mails once more, when all that is made on the way has been made.
"""

from __future__ import annotations

import random
import statistics
import time

from lockgate.policy.text import Needle, TextSet, pattern, word

SIZE = 29 * 1024
MAILS = 100
_LATIN = "abcdefghijklmnopqrstuvwxyz"
_OTHER = "абвгдежзиклмнопрстуфхцчшщыэюя"


def mails(randomly: random.Random) -> list[str]:
    """As many different texts; every second one is in Cyrillic with some accented Latin."""
    found = []
    for number in range(MAILS):
        letters = _LATIN if number % 2 else _OTHER + "éüßñ"
        words = ["".join(randomly.choices(letters, k=randomly.randint(2, 10))) for _ in range(SIZE // 6)]
        text = " ".join(words)
        found.append(text.encode()[:SIZE].decode("utf-8", "ignore"))
    return found


def needles(randomly: random.Random, count: int) -> list[Needle]:
    """Two thirds words, one third expressions, as administrators write them."""
    found = []
    for number in range(count):
        text = "".join(randomly.choices(_LATIN if number % 4 else _OTHER, k=8))
        found.append(pattern(rf"\b{text[:5]}\w*\s+{text[5:]}\d{{2,4}}") if number % 3 == 0 else word(text))
    return found


def main() -> None:
    """One line for each number of needles."""
    randomly = random.Random(4711)
    texts = mails(randomly)
    for count in (10, 50, 100, 300, 1000):
        began = time.perf_counter()
        together = TextSet(needles(randomly, count))
        compiled = time.perf_counter() - began
        spent, again = ([_took(together, text) for text in texts] for _ in range(2))
        mean, later = (statistics.mean(one) * 1e6 for one in (spent, again))
        print(f"{count:4} needles, {compiled * 1e3:.0f} ms to compile: mean {mean:.0f} µs a mail, "
              f"worst {max(spent) * 1e6:.0f} µs; the same mails again {later:.0f} µs")  # fmt: skip


def _took(together: TextSet, text: str) -> float:
    began = time.perf_counter()
    together.hits(text)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
