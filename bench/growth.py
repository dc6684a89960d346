"""How the service's cost grows with one thing at a time: connectors, recipients, IP lists, rules, queue, message size.

    python bench/growth.py [--only connectors directory lists rules queue size] [--depth 200000]

For each size a service of its own, the same load (4 KB, 20 sessions, a new connection each); CPU a thousand messages is
the figure, the rate stands beside it. A queue that grows is measured on one service, before and after.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from corpus import write_corpus
from peers import SOURCE, Lockgate, cpu_seconds, free_port, load, pss_megabytes, sink

sys.path.insert(0, str(SOURCE))

from judge import connectors, rules

COUNT = 2000
Made = tuple[Lockgate, Path, dict[str, Path]]


@contextlib.contextmanager
def service(policy: str = "", more: str = "", prepare: Callable[[Path], None] | None = None) -> Iterator[Made]:
    """A running service before a sink: (service, log of the sink, message bodies)."""
    with tempfile.TemporaryDirectory(prefix="lockgate-growth-") as text:
        folder = Path(text)
        corpus = write_corpus(folder / "corpus")
        with sink(folder) as (port, log):
            peer = Lockgate(folder / "peer", port, policy=policy, more=more)
            if prepare is not None:
                prepare(folder / "peer" / "state")
            peer.start()
            try:
                yield peer, log, corpus
            finally:
                peer.stop()


def measure(made: Made, count: int = COUNT, body: str = "small", rounds: int = 3, **options: Any) -> dict[str, float]:
    """Medians over rounds after one that only warms up."""
    peer, log, corpus = made
    runs = []
    for number in range(rounds + 1):
        before, cpu, began = _lines(log), cpu_seconds(peer.pid), time.monotonic()
        told = load(peer.port, [corpus[body]], n=count, i=f"{time.monotonic_ns()}", **{"c": 20, **options})
        if told["acknowledged"] < count:
            raise RuntimeError(f"only {told}")
        while _lines(log) - before < count and time.monotonic() - began < 300:
            time.sleep(0.01)
        took = time.monotonic() - began
        time.sleep(0.3)
        if number:
            cost = (cpu_seconds(peer.pid) - cpu) / count * 1000
            runs.append({"cpu_s_per_1000": cost, "accept_per_s": told["rate"], "end_to_end_per_s": count / took})
    return {**{key: statistics.median(run[key] for run in runs) for key in runs[0]}, "pss_mb": pss_megabytes(peer.pid)}


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n")


def by_connectors() -> Iterator[tuple[str, dict[str, float]]]:
    """Inbound and outbound connectors, as many of each."""
    for count in (10, 1000, 10_000):
        with service(_for_bench(connectors(count))) as made:
            yield f"{count} connectors each way", measure(made)


def by_rules() -> Iterator[tuple[str, dict[str, float]]]:
    """Mail flow rules for other domains, and rules that all look at this recipient."""
    for count in (10, 1000):
        with service(_for_bench(rules(count, matching=False))) as made:
            yield f"{count} rules", measure(made)


def by_lists() -> Iterator[tuple[str, dict[str, float]]]:
    """The operator's block list."""
    for count in (100, 100_000):
        entries = ", ".join(f'"10.{n // 65536}.{n // 256 % 256}.{n % 256}"' for n in range(count))
        with service(f"[operator]\nip_block_list = [{entries}]\n") as made:
            yield f"{count} networks on the block list", measure(made)


def by_directory() -> Iterator[tuple[str, dict[str, float]]]:
    """Recipients; everybody named in the load is one of them."""
    from lockgate.mail.address import parse_address
    from lockgate.mail.findings import RecipientKind
    from lockgate.storage.directory import RecipientRow, build_table

    for count in (10_000, 1_000_000):

        def fill(state: Path, count: int = count) -> None:
            rows = (
                RecipientRow("bench", RecipientKind.MAIL_USER, parse_address(f"u{n}@bench.test"), None, (), {})
                for n in range(count)
            )
            bob = RecipientRow("bench", RecipientKind.MAIL_USER, parse_address("bob@bench.test"), None, (), {})
            (state / "directory").mkdir(parents=True)
            build_table(state / "directory" / "recipients.table", [bob, *rows])

        with service(prepare=fill) as made:
            yield f"{count} recipients", measure(made)


def by_queue(depth: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Messages that wait for a next hop that does not answer."""
    dead = (
        '[[accepted_domain]]\ndomain_name = "dead.test"\ndomain_type = "internal_relay"\nvouched_by_operator = true\n'
        '[[outbound_connector]]\nname = "Dead"\nconnector_type = "on_premises"\nrecipient_domains = ["dead.test"]\n'
        f'use_mx_record = false\nsmart_hosts = ["127.0.0.1:{free_port()}"]\n'
    )
    with service(dead) as made:
        yield "nothing queued", measure(made, rounds=5)
        filled = 0
        for step in (depth // 10, depth):
            told = load(made[0].port, [made[2]["small"]], n=step - filled, c=40, k=True, P=True, t="x@dead.test", i="q")
            filled += int(told["acknowledged"])
            print(f"  queued {filled} at {told['rate']:.0f} a second", flush=True)
            time.sleep(3)
            yield f"{filled} queued for a dead host", measure(made, rounds=5)


def by_size() -> Iterator[tuple[str, dict[str, float]]]:
    """One message at a time, up to 50 MB; CPU is given for a megabyte."""
    with service() as made:
        for megabytes in (1, 5, 25, 50):
            line = b"x" * 76 + b"\r\n"
            head = made[2]["small"].read_bytes().partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            path = made[2]["small"].with_name(f"{megabytes}.eml")
            path.write_bytes(head + line * (megabytes * 1024 * 1024 // len(line)))
            made[2][str(megabytes)] = path
            found = measure(made, count=max(4, 100 // megabytes), body=str(megabytes), c=2)
            found["cpu_ms_per_mb"] = found["cpu_s_per_1000"] / megabytes
            yield f"{megabytes} MB a message", found


def _for_bench(text: str) -> str:
    """Documents of judge.py for the organisation of this service."""
    return text.replace("contoso.test", "bench.test")


def main() -> None:
    """Print and keep."""
    parts: dict[str, Callable[[], Iterator[tuple[str, dict[str, float]]]]] = {
        "connectors": by_connectors, "rules": by_rules, "lists": by_lists, "directory": by_directory, "size": by_size,
    }  # fmt: skip
    words = argparse.ArgumentParser()
    words.add_argument("--only", nargs="*", default=[*parts, "queue"])
    words.add_argument("--depth", type=int, default=200_000)
    given = words.parse_args()
    parts["queue"] = lambda: by_queue(given.depth)
    results: dict[str, dict[str, float]] = {}
    for name in given.only:
        for what, found in parts[name]():
            results[what] = found
            print(f"{what:34}", "  ".join(f"{key} {value:.3g}" for key, value in found.items()), flush=True)
    kept = Path(__file__).parent / "results"
    kept.mkdir(exist_ok=True)
    (kept / f"growth-{int(time.time())}.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
