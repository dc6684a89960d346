"""Compiled revisions for explanations: each compiled once, a few kept; and certificates read out of files."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from lockgate.app.explaining import KEPT, CompiledRevisions, presented
from lockgate.app.policies import Policies
from lockgate.flow.retelling import PolicyGone
from lockgate.policy.problems import Invalid
from lockgate.seams import Unavailable
from lockgate.testing.builders import policy_of
from peers.certificates import Authority

NOW = 1_900_000_000.0
DOCUMENT = """
[[organisation]]
name = "contoso{number}"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
"""


@pytest.fixture
def published(tmp_path: Path) -> Policies:
    return Policies(tmp_path / "state", "mx.lockgate.test")


def publish(policies: Policies, folder: Path, number: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "a.toml").write_text(DOCUMENT.format(number=number))
    policies.publish(folder, by="test", at=NOW)


async def test_each_revision_is_compiled_once_and_a_few_are_kept(published: Policies, tmp_path: Path) -> None:
    compiled = CompiledRevisions(published)
    with pytest.raises(Unavailable):
        await compiled.in_force()
    for number in range(1, KEPT + 3):
        publish(published, tmp_path / "documents", number)
        assert (await compiled.in_force()).revision == number
    one, same = await asyncio.gather(compiled.at(1), compiled.at(1))
    assert one is same and list(one.organisations) == ["contoso1"]
    assert (await compiled.in_force()) is (await compiled.at(KEPT + 2))
    assert await compiled.at(1) is one
    for number in range(2, KEPT + 2):
        await compiled.at(number)
    assert await compiled.at(1) is not one, "the oldest has given way, and is compiled again"


async def test_what_is_not_kept_is_gone_and_a_draft_has_no_number(published: Policies, tmp_path: Path) -> None:
    compiled = CompiledRevisions(published)
    publish(published, tmp_path / "documents", 1)
    with pytest.raises(PolicyGone, match="there is no revision 9"):
        await compiled.at(9)
    publish(published, tmp_path / "documents", 2)
    (kept,) = tmp_path.rglob("*1.json*")
    kept.unlink()
    with pytest.raises(PolicyGone, match="revision 1 is not kept here any more"):
        await compiled.at(1)
    draft = await compiled.draft({"a.toml": DOCUMENT.format(number=7)})
    assert draft.revision == 0 and "contoso7" in draft.organisations
    with pytest.raises(Invalid):
        await compiled.draft({"a.toml": "nonsense"})
    assert (await compiled.in_force()).revision == 2


async def test_the_policy_in_force_is_kept_warm_and_trouble_is_told_once(published: Policies, tmp_path: Path) -> None:
    compiled, told = CompiledRevisions(published), list[str]()
    warm = asyncio.ensure_future(compiled.keep_warm(told.append))
    await asyncio.sleep(0.1)
    publish(published, tmp_path / "documents", 1)
    for _ in range(100):
        if 1 in compiled._kept:
            break
        await asyncio.sleep(0.05)
    warm.cancel()
    assert 1 in compiled._kept
    assert len(told) == 1 and "no policy has been published" in told[0]


def test_a_certificate_of_a_file_is_verified_as_in_a_handshake(tmp_path: Path) -> None:
    public, private = Authority(tmp_path, "Public CA"), Authority(tmp_path, "Private CA")
    policy = policy_of(
        DOCUMENT.format(number=1)
        + f"""
[[inbound_connector]]
name = "bank"
sender_domains = ["bank.test"]
restrict_domains_to_certificate = true
tls_sender_certificate_name = "mail.bank.test"
ca_file = "{private.file}"
"""
    )
    read = presented(public.file)


    now = time.time()
    leaf, trusted, trouble = read(public.issue("mail.bank.test").chain.read_text(), policy, now)
    assert (leaf.names, trusted, trouble) == (("mail.bank.test",), ("public",), "")
    _, trusted, trouble = read(private.issue("mail.bank.test").chain.read_text(), policy, now)
    assert trusted == (str(private.file),) and trouble
    _, trusted, trouble = read(public.issue("mail.bank.test", expired=True).chain.read_text(), policy, now)
    assert trusted == () and "expired" in trouble
    _, _, trouble = presented(None)(public.issue("x.test").chain.read_text(), policy, now)
    assert trouble == "the operator has no bundle of public CA certificates"
    with pytest.raises(ValueError):
        read("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", policy, now)
