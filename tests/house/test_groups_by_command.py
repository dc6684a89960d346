"""Groups, forwarding and restrictions on the real service: by command and by file, and after a kill as before."""

from __future__ import annotations

import csv
import io
import os
import signal
from pathlib import Path

from house.test_acceptance_edge_blocking import domain
from peers.service import Service, running
from peers.smtp_peer import SmtpPeer


def everybody(service: Service) -> list[dict[str, str]]:
    code, out, _ = service.command("recipient", "export")
    assert code == 0
    return sorted(csv.DictReader(io.StringIO(out, newline="")), key=lambda row: row["address"])


def killed_and_started(service: Service) -> None:
    assert service.process is not None
    os.killpg(service.process.pid, signal.SIGKILL)
    service.process.wait()
    (service.state / "run" / "service.json").unlink()
    service.start()


def test_groups_survive_a_kill_and_the_way_through_a_file(tmp_path: Path) -> None:
    with SmtpPeer() as store, running(tmp_path / "s", domain("", store.host)) as service:
        for name in ("ann", "bob", "carl"):
            service.told("recipient", "add", f"{name}@contoso.com", "--kind", "mailbox")
        team = ("group", "add", "team@contoso.com", "--managed-by", "bob@contoso.com")
        service.told(*team, *(f"--member={one}" for one in ("ann@contoso.com", "carl@contoso.com", "x@far.example")))
        service.told("group", "add", "all@contoso.com", "--member=team@contoso.com", "--accept-from=bob@contoso.com")
        service.told("recipient", "set", "ann@contoso.com", "--forward-to", "ann@far.example", "--no-keep-copy")
        removed = service.told("recipient", "remove", "carl@contoso.com")
        assert (removed["left_count"], removed["left"]) == (1, ["team@contoso.com"])
        service.told("recipient", "set", "bob@contoso.com", "address=robert@contoso.com")
        before = everybody(service)
        killed_and_started(service)
        assert everybody(service) == before
        shown = service.told("group", "show", "team@contoso.com")
        assert (shown["members"], shown["managed_by"]) == (["ann@contoso.com", "x@far.example"], ["robert@contoso.com"])
        assert shown["member_of"] == ["all@contoso.com"]
        shown = service.told("group", "show", "all@contoso.com")
        assert shown["accept_messages_only_from"] == ["robert@contoso.com"]
        found = service.told("recipient", "find", "ann@contoso.com")
        assert (found["forwarding_smtp_address"], found["deliver_to_mailbox_and_forward"]) == ("ann@far.example", False)
        file = tmp_path / "people.csv"
        assert service.command("recipient", "export", str(file))[0] == 0
        again = service.told("recipient", "import", str(file))
        assert (again["unchanged"], again["changed"], again["warnings"]) == (len(before), 0, [])
        rows = service.told("audit", "find", "--what", "recipient remove")
        assert rows[0]["details"]["followed"] == ["team@contoso.com"], rows
