"""T-ADM-1 against the running service: real accounts, told apart by the kernel, do what their role group may."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lockgate.cli.client import ask
from lockgate.flow.asking import Answer, AuditFind, Kind, ObjectWrite, QueueEdit, QueueList, Reload, Request, StatusAsk
from lockgate.flow.asking.objects import Assignment
from peers.service import running

NOBODY = "nobody"
POLICY = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.test"
domain_type = "internal_relay"
vouched_by_operator = true
[[outbound_connector]]
name = "HQ"
connector_type = "on_premises"
recipient_domains = ["contoso.test"]
use_mx_record = false
smart_hosts = ["127.0.0.1:1"]
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")


def asked_by(account: str, socket: Path, request: Request) -> Answer:
    """The answer that a process of this account gets; a real process, so that the kernel names it."""
    who = pwd.getpwnam(account)
    hear, speak = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(who.pw_gid)
            os.setuid(who.pw_uid)
            answer = ask(socket, request, 20)
            os.write(speak, msgspec.json.encode(answer))
        finally:
            os._exit(0)
    os.close(speak)
    with os.fdopen(hear, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    return msgspec.json.decode(data, type=Answer)


@pytest.fixture
def socket() -> Iterator[Path]:
    """A place that every account gets to."""
    folder = Path(tempfile.mkdtemp(prefix="lockgate-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder / "control.sock"
    shutil.rmtree(folder)


def audit(socket: Path, **question) -> list[dict]:
    return ask(socket, AuditFind(**question), 20).result


def test_t_adm_1_a_quarantine_administrator_releases_and_may_not_edit_a_connector(tmp_path, socket):
    control = {"socket": str(socket), "role": [{"group": "QuarantineAdministrator", "account": NOBODY}]}
    with running(tmp_path / "s", POLICY, control={"socket": str(socket)}) as service:
        assert service.process is not None  # the file below is what the next start reads
        text = service.config.read_text("utf-8")
    roles = "".join(f'[[control.role]]\ngroup = "{one["group"]}"\naccount = "{one["account"]}"\n'
                    for one in control["role"])  # fmt: skip
    service.config.write_text(text + roles, "utf-8")
    service.start()
    try:
        message = service.send("x@out.test", "ann@contoso.test")
        service.until(lambda: ask(socket, QueueList({"id": message}), 20).result, "the message waits")
        assert ask(socket, QueueEdit("hold", {"id": message}), 20).result["count"] == 1
        service.until(
            lambda: all(task["held"] for task in ask(socket, QueueList({"id": message}), 20).result),
            "the message is held, as soon as the worker has given it back",
        )

        (row, *_) = audit(socket, what="roles")
        assert (row["before"], row["after"]) == ([], control["role"])

        # Given a user only in QuarantineAdministrator, when she releases a message: it succeeds and is audited.
        released = asked_by(NOBODY, socket, QueueEdit("release", {"id": message}))
        assert (released.kind, released.result["count"]) == (Kind.OK, 1), released
        (row, *_) = audit(socket, who=NOBODY, object=message)
        assert (row["what"], row["refused"], len(row["before"])) == ("queue release", False, 1)

        # When she then tries to edit a connector: it is refused and the attempt is audited.
        revision = ask(socket, StatusAsk(), 20).result["policy_revision"]
        assignment = Assignment("smart_hosts", "=", "127.0.0.1:2")
        change = ObjectWrite("set", ("outbound_connector",), "HQ", assignments=(assignment,))
        service.write_policy(POLICY.replace("127.0.0.1:1", "127.0.0.1:2"))
        for edit, asked in ((change, "object_write"), (Reload(), "reload")):
            refused = asked_by(NOBODY, socket, edit)
            assert refused.kind == Kind.FORBIDDEN
            assert "lacks the right" in refused.sentence
            assert ask(socket, StatusAsk(), 20).result["policy_revision"] == revision
            (row, *_) = audit(socket, who=NOBODY, refused=True)
            assert row["what"] == "was refused"
            assert row["details"]["asked"] == asked

        # Nor may she do anything else to the queue, and a stranger nothing at all.
        for action in ("hold", "delete", "retry"):
            assert asked_by(NOBODY, socket, QueueEdit(action, {"id": message})).kind == Kind.FORBIDDEN
        assert asked_by("daemon", socket, StatusAsk()).kind == Kind.MISUSE
        assert audit(socket, who="daemon", refused=True)[0]["details"]["because"] == "it belongs to no role"
    finally:
        assert service.stop() == 0, service.said()


def test_rows_survive_a_kill_and_the_start_is_audited(tmp_path):
    with running(tmp_path / "s", POLICY) as service:
        (row,) = service.done(AuditFind(what="reload"))
        assert (row["before"], row["after"], row["details"]["because"]) == (None, 1, "start")
        service.reload(POLICY.replace("127.0.0.1:1", "127.0.0.1:2"))
        assert service.process is not None
        service.process.kill()
        service.process.wait()
        (service.state / "run" / "service.json").unlink()
        service.start()
        rows = service.done(AuditFind(what="reload"))
        assert [row["who"] for row in rows] == [f"{os.getuid()} root", f"{os.getuid()} supervisor"]
        assert json.dumps(rows)
