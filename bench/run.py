"""Lockgate beside Debian's Postfix in the same run: CPU, rates, latency and memory; medians of interleaved rounds.

    python bench/run.py [--rounds 5] [--only small]
    python bench/run.py --only crowd
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpus import MIX, write_corpus
from peers import Lockgate, Postfix, cpu_seconds, load, pss_megabytes, sink

LOADS: dict[str, dict[str, Any]] = {
    "small": {"bodies": ("small",), "n": 3000, "options": {"c": 20}},
    "mix": {"bodies": MIX, "n": 2000, "options": {"c": 20}},
    "kept": {"bodies": ("small",), "n": 5000, "options": {"c": 20, "k": True, "P": True}},
    "crowd": {"bodies": ("small",), "n": 4000, "options": {"c": 100}},
    "lone": {"bodies": ("small",), "n": 500, "options": {"c": 1}},
}
"""Twenty sessions with a new connection for each message; the same with three sizes; kept, pipelined; a hundred
sessions, for which more than one worker is asked (app/spread.py); one session."""

TOGETHER = ("small", "mix", "kept", "lone")
"""What is measured in one run unless other loads are named. After a crowd both peers keep more processes at work for a
while, and would serve twenty sessions otherwise than those who meet them fresh."""

PEERS: dict[str, Callable[[Path, int], Any]] = {"postfix": Postfix, "lockgate": Lockgate}


def measure(peer: Any, name: str, log: Path, corpus: dict[str, Path], tag: str) -> dict[str, float]:
    """One load on one running peer, until the sink has all of it."""
    plan = LOADS[name]
    before, cpu = _lines(log), cpu_seconds(peer.pid)
    began = time.monotonic()
    told = load(peer.port, [corpus[b] for b in plan["bodies"]], n=plan["n"], i=tag, **plan["options"])
    while _lines(log) - before < told["acknowledged"] and time.monotonic() - began < 300:
        time.sleep(0.01)
    took = time.monotonic() - began
    time.sleep(0.5)  # what is written after the last delivery belongs to it
    count = told["acknowledged"]
    return {
        "accept_per_s": told["rate"],
        "end_to_end_per_s": count / took,
        "cpu_s_per_1000": (cpu_seconds(peer.pid) - cpu) / count * 1000,
        "p50_ms": told["p50_ms"],
        "p99_ms": told["p99_ms"],
        "pss_mb": pss_megabytes(peer.pid),
        "missing": count - (_lines(log) - before),
    }


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n")


def compare(rounds: int, names: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Medians by load and peer."""
    results: dict[str, dict[str, list[dict[str, float]]]] = {name: {peer: [] for peer in PEERS} for name in names}
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as text:
        folder = Path(text)
        folder.chmod(0o755)
        corpus = write_corpus(folder / "corpus")
        peers: list[tuple[str, Any, Path]] = []
        with contextlib.ExitStack() as sinks:
            for kind, make in PEERS.items():
                (folder / kind).mkdir()
                port, log = sinks.enter_context(sink(folder / kind))
                peers.append((kind, make(folder / kind / "peer", port), log))
            for _, peer, _ in peers:
                peer.start()
            try:
                for number in range(rounds):
                    for name in names:
                        for kind, peer, log in peers:
                            results[name][kind].append(measure(peer, name, log, corpus, f"{name}{number}-"))
            finally:
                for _, peer, _ in peers:
                    peer.stop()
    return {name: {kind: _medians(runs) for kind, runs in found.items()} for name, found in results.items()}


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The figures as Markdown, ratios last."""
    columns = ("cpu_s_per_1000", "accept_per_s", "end_to_end_per_s", "p50_ms", "p99_ms", "pss_mb", "missing")
    lines = ["| load | peer | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    form: Callable[[float], str] = lambda value: f"{value:.3g}"  # noqa: E731
    for name, kinds in results.items():
        for kind, found in kinds.items():
            lines.append(f"| {name} | {kind} | " + " | ".join(form(found[c]) for c in columns) + " |")
        for kind in [kind for kind in kinds if kind != "postfix"]:
            ratios = [_ratio(kinds["postfix"][c], kinds[kind][c], c) for c in columns]
            lines.append(f"| {name} | **{kind} better by** | " + " | ".join(ratios) + " |")
    return "\n".join(lines)


def _ratio(postfix: float, lockgate: float, column: str) -> str:
    if not postfix or not lockgate:
        return ""
    better = lockgate / postfix if column.endswith("_per_s") else postfix / lockgate
    return f"{better:.2f}"


def main() -> None:
    """Run, print, keep."""
    words = argparse.ArgumentParser()
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--only", nargs="*", default=list(TOGETHER), choices=list(LOADS))
    given = words.parse_args()
    results = compare(given.rounds, given.only)
    print(table(results))
    kept = Path(__file__).parent / "results"
    kept.mkdir(exist_ok=True)
    (kept / f"run-{int(time.time())}.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
