"""What a DKIM signature costs in microseconds of CPU: choosing the keys, canonical forms, hashes, the signature itself.

    python bench/sign.py

Each figure is the best of several rounds on one core, without a service: the finish of a departing copy, with a key
store in files as the service has it. The figures of the bare signature say how much of it is not ours.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from lockgate.app.clock import SystemClock
from lockgate.app.dkim import new_key
from lockgate.flow.signing import Signing
from lockgate.flow.signing_keys import KeyRing
from lockgate.mail.address import parse_address
from lockgate.mail.dkim.held import HeldKey, KeyState
from lockgate.mail.dkim.sign import load_key, public_record
from lockgate.mail.envelope import Envelope
from lockgate.mail.message import BodyRef
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Route, Via
from lockgate.mail.task import Assigned, Stamp, TaskRecipient
from lockgate.policy.compile import compile_policy
from lockgate.policy.policy import Policy
from lockgate.storage.signing_keys import SigningKeyFiles

ROUNDS = 7
BASE = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.test"
vouched_by_operator = true
[[dkim_signing_config]]
domain_name = "contoso.test"
algorithms = [{algorithms}]
"""
HEAD = (
    b"Received: from a by b; Tue, 24 Nov 2026 10:00:00 +0000\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n"
    b"From: Alice <alice@contoso.test>\r\nTo: Bob <bob@away.test>\r\nSubject: Figures of the month\r\n"
    b"Message-ID: <figures@contoso.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
)
LINE = b"The quick brown fox jumps over the lazy dog, and the  dog does not mind.\r\n"


def best(work: Callable[[], object], times: int) -> float:
    """Microseconds of CPU a call, the best of the rounds."""
    found = float("inf")
    for _ in range(ROUNDS):
        gc.collect()
        gc.disable()
        began = time.process_time()
        for _ in range(times):
            work()
        found = min(found, (time.process_time() - began) / times)
        gc.enable()
    return found * 1e6


def policy(*algorithms: str) -> Policy:
    words = ", ".join(f'"{one}"' for one in algorithms)
    return compile_policy({"bench.toml": BASE.format(algorithms=words)}, hostname="mx.bench.test", revision=1)


def key_store(folder: Path, bits: int) -> SigningKeyFiles:
    """A store with an active key of each algorithm."""
    store = SigningKeyFiles(folder)
    for algorithm, size in (("rsa", bits), ("ed25519", 256)):
        fresh = new_key(algorithm, size, 1.7e9)
        record = public_record(load_key("contoso.test", fresh.selector, fresh.pem))
        key = HeldKey(
            "contoso", "contoso.test", fresh.selector, algorithm, size, record, KeyState.ACTIVE, 1.7e9, 1.7e9
        )
        store.change(lambda keys, key=key: (*keys, key), {key.name: fresh.pem})  # type: ignore[misc]
    return store


def task(size: int, *, sign: bool = True) -> tuple[Assigned, bytes]:
    content = HEAD + (LINE * (size // len(LINE) + 1))[: max(size - len(HEAD), 0)] + b"\r\n"
    target = parse_address("bob@away.test")
    recipient = TaskRecipient(RecipientId(target), target, 0)
    route = Route(Via.MX, "contoso", domain="away.test")
    sender = Envelope(parse_address("alice@contoso.test"))
    body, stamp = BodyRef("", 0, 0, 0), Stamp(sign=sign)
    made = Assigned(1, "m1", route.lane, route, sender, body, len(content), (recipient,), 0.0, 0.0, stamp=stamp)
    return made, content


def run(work: Coroutine[Any, Any, bytes]) -> None:
    """Without a loop: below the size of large messages nothing waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("it waited")


def signing(folder: Path) -> Iterator[tuple[str, float]]:
    clock = SystemClock()
    small, content = task(4096)
    for bits in (2048, 1024, 4096):
        store = key_store(folder / str(bits), bits)
        for algorithms in (("rsa",), ("rsa", "ed25519")) if bits == 2048 else (("rsa",),):
            wanted = policy(*algorithms)
            finish = Signing(KeyRing(lambda wanted=wanted: wanted, store), clock).finish  # type: ignore[misc]
            name = f"sign 4 KB, {' and '.join(algorithms)}, {bits} bits"
            yield name, best(lambda f=finish, w=wanted: run(f(w, small, content)), 200)  # type: ignore[misc]
    wanted = policy("ed25519")
    finish = Signing(KeyRing(lambda: wanted, store), clock).finish
    yield "sign 4 KB, ed25519", best(lambda: run(finish(wanted, small, content)), 500)
    large, much = task(900_000)
    yield "sign 900 KB, ed25519", best(lambda: run(finish(wanted, large, much)), 5)
    plain, _ = task(4096, sign=False)
    yield "a copy that is not to be signed", best(lambda: run(finish(wanted, plain, content)), 20_000)


def bare() -> Iterator[tuple[str, float]]:
    """The library alone, over a text as long as a header."""
    text = HEAD * 2
    for bits in (1024, 2048):
        key = rsa.generate_private_key(65537, bits)
        yield f"the signature alone, rsa {bits}", best(
            lambda key=key: key.sign(text, padding.PKCS1v15(), hashes.SHA256()), 200  # type: ignore[misc]
        )
    other = ed25519.Ed25519PrivateKey.generate()
    yield "the signature alone, ed25519", best(lambda: other.sign(text[:32]), 1000)


def main() -> None:
    """Print and keep."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for section in (signing(Path(folder)), bare()):
            for name, figure in section:
                figures[name] = figure
                print(f"{name:55} {figure:10.2f}", flush=True)
    kept = Path(__file__).parent / "results"
    kept.mkdir(exist_ok=True)
    (kept / f"sign-{int(time.time())}.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
