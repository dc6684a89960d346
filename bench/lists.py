"""What named lists cost: look-ups, words in texts of 29 KB, import, files and memory, with 1,000 and 1,000,000 entries.

    python bench/lists.py

CPU time throughout, the best of several runs for what is short; each list is measured in a process of its own. No entry
is in the texts, so that each is looked through to its end. Of "names" no word is in a mail; most phrases of "common
words" begin with the commonest words of the mails, which is as bad as it gets.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lockgate.app.clock import SystemClock
from lockgate.flow.list_files import read_list
from lockgate.flow.listed import in_texts, on_list
from lockgate.mail.findings import InList, ListInText, OnList
from lockgate.mail.lists import ListKind, ListName
from lockgate.storage.lists import ListFiles, ListStore

SIZES = (1_000, 1_000_000)
SIZE = 29 * 1024
MAILS = 40
ROUNDS = 5
_LATIN = "etaoinshrdlucmfwypvbgkjqxz"
_OTHER = "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэф"


def vocabulary(randomly: random.Random, letters: str) -> tuple[list[str], list[float]]:
    """40,000 words, the first ones as much more frequent as in a language (Zipf), with their summed weights."""
    words = ["".join(randomly.choices(letters, k=randomly.randint(2, 10))) for _ in range(40_000)]
    return words, list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))


def mails(randomly: random.Random) -> list[str]:
    """As many different texts with sentences and lines; every second one is in Cyrillic."""
    languages = [vocabulary(randomly, letters) for letters in (_LATIN, _OTHER)]
    found = []
    for number in range(MAILS):
        words, weights = languages[number % 2]
        text = "".join(
            word + randomly.choice((" ", " ", " ", " ", " ", ", ", ".\r\n"))
            for word in randomly.choices(words, cum_weights=weights, k=SIZE // 5)
        )
        found.append(text.encode()[:SIZE].decode("utf-8", "ignore"))
    return found


def names(randomly: random.Random, count: int) -> Iterator[str]:
    """Names of one to three words that no mail has."""
    for number in range(count):
        yield " ".join(f"{''.join(randomly.choices(_LATIN, k=6))}{number}" for _ in range(number % 3 + 1))


def common_words(randomly: random.Random, count: int) -> Iterator[str]:
    """A third words, two thirds phrases of two to four; the last word of each is in no mail (it has a digit)."""
    known, weights = vocabulary(random.Random(1), _LATIN)
    for number in range(count):
        before = randomly.choices(known, cum_weights=weights, k=number % 3 + (number % 2 if number % 3 else 0))
        yield " ".join([*before, f"{number}x"])


def domains(randomly: random.Random, count: int) -> Iterator[str]:
    """Domains of two and three labels."""
    for number in range(count):
        name = "".join(randomly.choices(_LATIN, k=8))
        yield f"{name}{number}.example" if number % 2 else f"mail.{name}{number}.example"


def spent(what: Callable[[], object], times: int) -> float:
    """CPU seconds of one run, the best of ROUNDS."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(times):
            what()
        best = min(best, (time.process_time() - began) / times)
    return best


def measured(
    kind: ListKind, make: Callable[[random.Random, int], Iterator[str]], size: int,
    queue: multiprocessing.SimpleQueue[str],
) -> None:  # fmt: skip
    """Import a list of this size and look into it."""
    with tempfile.TemporaryDirectory() as folder:
        text = "\n".join(make(random.Random(2), size))
        clock, name = SystemClock(), ListName("contoso", kind, "bench")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        ListStore(Path(folder), clock).load(name, read_list(text, "text", kind, "f"), "me", replace=True, what_if=False)
        took = time.process_time() - began
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        on_disk = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
        queue.put(f"  import {took:.1f} s CPU, {on_disk:.1f} MB on disk, {peak:.0f} MB of memory while importing")
        lists = ListFiles(Path(folder), clock)
        queue.put(_texts(lists) if kind is ListKind.WORDS else _values(lists, text))


def _values(lists: ListFiles, text: str) -> str:
    there = [f"host.{entry}" for entry in random.Random(3).sample(text.split("\n"), 500)]
    asked = [InList("contoso", "bench", ListKind.DOMAINS, one) for one in (*there, *(f"x{one}.test" for one in there))]
    found = [on_list(lists, question) for question in asked]
    assert sum(isinstance(one, OnList) and one.entry != "" for one in found) == len(there)

    def look() -> None:
        for question in asked:
            on_list(lists, question)

    return f"  a look-up of a domain and those above it: {spent(look, 20) / len(asked) * 1e6:.2f} µs"


def _texts(lists: ListFiles) -> str:
    question = ListInText("contoso", "bench")
    each = []
    for text in mails(random.Random(1)):
        answer = in_texts(lists, [question], (text,), cut=False)[question]
        assert isinstance(answer, OnList) and not answer.entry
        each.append(spent(lambda text=text: in_texts(lists, [question], (text,), cut=False), 1))
    mean, worst = sum(each) / len(each) * 1e3, max(each) * 1e3
    return f"  a text of 29 KB: mean {mean:.2f} ms, worst {worst:.2f} ms"


def main() -> None:
    """A few lines for each kind and size."""
    kinds = ((ListKind.DOMAINS, domains), (ListKind.WORDS, names), (ListKind.WORDS, common_words))
    for kind, make in kinds:
        for size in SIZES:
            print(f"{size:,} {make.__name__.replace('_', ' ')}", flush=True)
            queue: multiprocessing.SimpleQueue[str] = multiprocessing.SimpleQueue()
            child = multiprocessing.Process(target=measured, args=(kind, make, size, queue))
            child.start()
            for _ in range(2):
                print(queue.get(), flush=True)
            child.join()


if __name__ == "__main__":
    main()
