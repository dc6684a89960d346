"""Replay: how many recorded messages one core judges again in a second, from the store to what would change.

    python bench/replay.py [--messages 5000] [--days 7] [--rules 50]

Messages are judged once as live mail is (twenty header fields, one to five recipients, five hundred senders), written
to day files as the keeper's mover writes them, and judged again by a draft in the process that the service would begin
for it. Processor time of that process counts, its start and the compiling of the draft apart.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import msgspec

from lockgate.app.config import read_config
from lockgate.app.rejudging import Materials, Said, So, environment, replays
from lockgate.decision.judge import judge
from lockgate.flow.replay import Job, Progress
from lockgate.flow.settle import settle
from lockgate.mail.address import parse_address
from lockgate.mail.connection import Connection
from lockgate.mail.directory import RecipientRow
from lockgate.mail.envelope import Envelope
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import RecipientKind
from lockgate.mail.headers import message_of
from lockgate.mail.identity import network_id
from lockgate.mail.recipient import RecipientId
from lockgate.mail.record import Recorder
from lockgate.policy.compile import compile_policy
from lockgate.policy.policy import Policy
from lockgate.storage.day_schema import open_day, write_day
from lockgate.storage.directory import build_table
from lockgate.storage.tables import open_tables
from lockgate.storage.traces import day_path

BASE = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.test"
vouched_by_operator = true
[[outbound_connector]]
name = "Headquarters"
connector_type = "on_premises"
recipient_domains = ["contoso.test"]
use_mx_record = false
smart_hosts = ["192.0.2.1"]
"""
CITIES = ("Seattle", "New Orleans", "Rome", "Oslo")
PEOPLE = 2_000


def rules(count: int, word: str) -> str:
    """Rules as organisations have them: by subject, header, sender and attribute; few hit."""
    kinds = (
        'subject_contains_words = ["{word}{n}", "last warning {n}"]\nquarantine = true\n',
        'header_contains_words = {{header = "X-Mailer", words = ["{word}{n}"]}}\ndelete_message = true\n',
        'sender_domain_is = ["sender{n}.test"]\nset_header = {{name = "X-From", value = "{n}"}}\n',
        'recipient_ad_attribute_contains_words = {{city = ["oslo"]}}\nsubject_matches_patterns = ["{word}\\\\s{n}$"]\n'
        "quarantine = true\n",
    )
    return "".join(
        f'[[mail_flow_rule]]\nname = "rule {n}"\npriority = {n}\n{kinds[n % len(kinds)].format(n=n, word=word)}'
        for n in range(count)
    )


def letter(chance: random.Random, number: int, sender: str) -> bytes:
    fields = [f"Received: from mx{n}.{sender} by mx.test; id {chance.getrandbits(96):x}" for n in range(3)]
    fields += [f"X-Field-{n}: {chance.getrandbits(160):x}" for n in range(11)]
    fields += [f"DKIM-Signature: v=1; a=rsa-sha256; d={sender}; b={chance.getrandbits(2048):x}"]
    fields += [f"From: x@{sender}", "To: all@contoso.test", f"Subject: figures of the month {chance.randrange(500)}"]
    fields += ["X-Mailer: some mailer 1.0", f"Message-ID: <{number}@{sender}>", "Content-Type: text/plain"]
    return "\r\n".join([*fields, "", ""]).encode()


def fill(materials: Materials, policy: Policy, count: int, days: int) -> None:
    """Write the store."""
    chance, recorder, per_day = random.Random(3), Recorder(), count // days
    today = int(time.time() // 86400)
    for day in range(days):
        bucket = today - days + 1 + day
        file = open_day(day_path(materials.trace, bucket))
        rows, traces = [], []
        for n in range(per_day):
            number = day * per_day + n + 1
            at = bucket * 86400 + n * 86000 / per_day
            sender = f"sender{chance.randrange(500)}.test"
            head = letter(chance, number, sender)
            name = network_id(chance.randbytes(10), at)
            peer = f"198.18.{chance.randrange(256)}.{chance.randrange(256)}"
            connection = Connection(f"C{number}", peer, socket.inet_aton(peer), 4000, "192.0.2.4:25", helo=sender)
            people = chance.sample(range(PEOPLE), chance.choice((1, 1, 1, 2, 5)))
            recipients = tuple(RecipientId(parse_address(f"user{p}@contoso.test")) for p in people)
            message = message_of(name, head, 20_000, "mx.bench.test")
            facts = Facts(at, connection, Envelope(parse_address(f"x@{sender}")), recipients, message)
            facts, ruling = settle(judge, materials.ask, policy, facts, Point.DATA)
            told = msgspec.msgpack.encode([("contoso", recorder.write_story(facts, ruling))])
            rows.append((number, bucket, name, at, f"x@{sender}", message.subject, 20_000, message.message_id, peer, "",
                         1, connection.id, 1, told, ""))  # fmt: skip
            traces += [(number << 20 | k, "contoso", one.original.text, "Delivered", "", "", "", "", "", b"", "", "")
                       for k, one in enumerate(recipients)]  # fmt: skip
        write_day(file, rows, traces)
        file.close()


def apart(config: Path, job: Job) -> tuple[float, float, Progress]:
    """Processor seconds and seconds by the clock of a process that does this job, and the end of it."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "lockgate.app.rejudging", str(config)]
    done = subprocess.run(
        command, input=msgspec.json.encode(job), stdout=subprocess.PIPE, env=environment(), check=True
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = msgspec.json.decode(done.stdout.splitlines()[-1], type=Said)
    if not isinstance(said, So):
        raise RuntimeError(said.because)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, time.monotonic() - began, said.progress


def main() -> None:
    """Fill, measure, print."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--messages", type=int, default=5_000)
    asked.add_argument("--days", type=int, default=7)
    asked.add_argument("--rules", type=int, default=50)
    asked.add_argument("--profile", action="store_true")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        file = Path(folder) / "lockgate.toml"
        file.write_text('hostname = "mx.bench.test"\n')
        config = read_config(file)
        for place in (config.queue_directory, config.recipients_directory, config.state_directory / "trace"):
            place.mkdir(parents=True)
        open_tables(config.queue_directory / "keeper.sqlite").close()
        rows = (
            RecipientRow("contoso", RecipientKind.MAIL_USER, parse_address(f"user{n}@contoso.test"), None, (),
                         {"city": CITIES[n % 4]})
            for n in range(PEOPLE)
        )  # fmt: skip
        build_table(config.recipients_directory / "recipients.table", rows)
        materials = Materials(config)
        policy = compile_policy({"p.toml": BASE + rules(given.rules, "invoice")}, hostname="mx.bench.test", revision=1)
        fill(materials, policy, given.messages, given.days)
        draft = {"p.toml": BASE + rules(given.rules, "month ")}
        since = time.time() - 86400 * (given.days + 1)
        none, _, _ = apart(file, Job(draft, 0, time.time() + 1e6, 1_000_000))
        spent, took, end = apart(file, Job(draft, 0, since, 1_000_000))
        result = end.result or {}
        print(f"{result['messages']} messages, {result['recipients']} recipients, {given.rules} rules: "
              f"{result['changed']} would fare otherwise, {result['unknown']} unknown")  # fmt: skip
        judging = spent - none
        print(f"start and compiling {none:.2f} s; judging {judging:.2f} s of processor, "
              f"{result['messages'] / judging:.0f} messages a second a core; {took:.2f} s by the clock")  # fmt: skip
        if given.profile:
            profile = cProfile.Profile()
            profile.runcall(lambda: list(replays(materials, Job(draft, 0, since, 1_000_000))))
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
