"""Certificates, CA files and revocation lists: until when, what for, and what a person is told of them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from edge.authority import make
from lockgate.app.config import OperatorFile, parse_config
from lockgate.app.credentials import Credentials, ends_soon
from lockgate.app.showing import certificate_files, wanted_of
from lockgate.policy.compile import compile_policy
from lockgate.storage.acme_files import AcmeFiles
from lockgate.testing.clock import HandClock
from peers.certificates import Authority

DAY = 86400.0
YEAR = dt.timedelta(days=365)


def config(folder: Path, *entries: str, more: str = "") -> OperatorFile:
    text = 'hostname = "mx.contoso.test"\n' + "\n".join(entries) + more
    return parse_config(text, folder / "lockgate.toml")


def entry(files: tuple[str, str], intermediates: str = "") -> str:
    more = f'intermediates = "{intermediates}"\n' if intermediates else ""
    return f'[[certificate]]\nchain = "{files[0]}"\nkey = "{files[1]}"\n{more}'


def nothing():
    return compile_policy({}, hostname="mx.contoso.test", revision=1)


def watched(folder: Path, *entries: str, more: str = "", at: float) -> tuple[Credentials, HandClock]:
    clock = HandClock(at)
    return Credentials(config(folder, *entries, more=more), nothing, clock), clock


@pytest.mark.parametrize(
    ("days", "what"),
    [
        (31, None), (29.9, "certificate ends within 30 days"), (13, "certificate ends within 14 days"),
        (6, "certificate ends within 7 days"), (0.5, "certificate ends within 1 day"), (-1, "certificate has ended"),
    ],
)  # fmt: skip
def test_each_step_is_an_alert_of_its_own_and_says_what_to_do(tmp_path, days, what):
    made = make("mx.contoso.test", ["mx.contoso.test"], end=YEAR)
    files = made.write(tmp_path, "us")
    end = made.certificate.not_valid_after_utc.timestamp()
    credentials, _ = watched(tmp_path, entry(files), at=end - days * DAY)
    found = credentials.wrong()
    assert [name for name, _ in found] == ([what] if what else [])
    for details in found.values():
        assert details["file"] == files[0] and f"replace {files[0]} and its key" in details["do"]
        assert abs(details["days"] - days) < 0.1


def test_short_lives_are_told_of_in_their_last_quarter():
    life = 90 * DAY
    steps = (30, 14, 7, 1)
    assert ends_soon(0.0, life, life - 29 * DAY, steps) is None  # its renewal is only just due
    assert ends_soon(0.0, life, life - 22 * DAY, steps) == 30
    assert ends_soon(0.0, life, life - 6 * DAY, steps) == 7
    assert ends_soon(0.0, 6 * DAY, 4 * DAY, steps) is None
    assert ends_soon(0.0, 6 * DAY, 5.2 * DAY, steps) == 1
    assert ends_soon(0.0, life, life, steps) == 0
    assert ends_soon(0.0, life, life + DAY, ()) is None and ends_soon(0.0, 0.0, life, steps) is None


def test_alerts_of_a_single_number_of_days_are_still_understood(tmp_path):
    assert config(tmp_path, more="[alerts]\ncertificate_days = 14\n").alerts.certificate_days == (14,)
    assert config(tmp_path, more="[alerts]\ncertificate_days = 0\n").alerts.certificate_days == ()
    assert config(tmp_path, more="[alerts]\ncertificate_days = [9, 2]\n").alerts.certificate_days == (9, 2)


def test_what_cannot_be_used_is_said_with_file_and_reason(tmp_path):
    good, other = make("a.test", ["a.test"], end=YEAR), make("b.test", ["b.test"], end=YEAR)
    chain, _ = good.write(tmp_path, "a")
    _, key = other.write(tmp_path, "b")
    credentials, clock = watched(tmp_path, entry((chain, key)), entry((str(tmp_path / "none.pem"), key)), at=0.0)
    found = credentials.wrong()
    assert set(found) == {("certificate cannot be used", chain), ("certificate cannot be used", f"{tmp_path}/none.pem")}
    assert "the key is not that of the certificate" in found["certificate cannot be used", chain]["because"]
    Path(key).write_bytes(good.key_pem)
    clock.move(6)
    assert ("certificate cannot be used", chain) not in credentials.wrong()


def test_a_missing_intermediate_is_said_and_may_come_from_a_file_of_its_own(tmp_path):
    root = make("Root", ca=True, end=YEAR)
    middle = make("Middle", issuer=root, ca=True, end=YEAR)
    leaf = make("mx.contoso.test", ["mx.contoso.test"], issuer=middle, end=YEAR)
    whole = leaf.write(tmp_path, "whole")
    leaf.others = []
    alone = leaf.write(tmp_path, "alone")
    (tmp_path / "middle.pem").write_bytes(middle.chain_pem)
    (tmp_path / "root.pem").write_bytes(root.chain_pem)
    more = f'[delivery]\nca_bundle = "{tmp_path}/root.pem"\n'
    entries = (entry(alone), entry(whole), entry(alone, str(tmp_path / "middle.pem")))
    credentials, _ = watched(tmp_path, *entries, more=more, at=dt.datetime.now(dt.UTC).timestamp())
    first, *others = credentials.all()
    assert "no certificate of the issuer 'Middle'" in first.missing
    assert [one.missing for one in others] == ["", ""]
    elsewhere, _ = watched(tmp_path, entry(whole), more=f'[delivery]\nca_bundle = "{tmp_path}/middle.pem"\n', at=0.0)
    assert elsewhere.all()[0].missing == ""  # a public authority signed it directly
    other = make("Other Root", ca=True, end=YEAR)
    (tmp_path / "root.pem").write_bytes(other.chain_pem)
    private, _ = watched(tmp_path, entry(whole), more=more, at=0.0)
    assert "it ends at 'Middle', whose issuer 'Root' is no public authority" in private.all()[0].missing


def test_lists_and_authorities_in_one_file(tmp_path):
    ca = Authority(tmp_path)
    file = tmp_path / "partner.pem"
    file.write_bytes(b"A partner's\n" + ca.file.read_bytes() + ca.revoke().read_bytes())
    more = f'[mailboxes]\nservers = ["store.contoso.test:24"]\nca_file = "{file}"\n'
    end = ca.certificate.not_valid_after_utc.timestamp()
    credentials, clock = watched(tmp_path, more=more, at=end - 10 * DAY)
    kinds = {name for name, _ in credentials.wrong()}
    assert kinds == {"CA certificate ends within 14 days", "revocation list has ended"}
    assert {one.uses for one in credentials.all()} == {("[mailboxes], ca_file",)}
    file.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    clock.move(6)
    (name, _), = credentials.wrong()
    assert name == "CA certificate cannot be used"


ACME = """
[acme]
directory = "https://acme.test/dir"
terms_agreed = true
"""


def test_what_was_ordered_is_shown_before_the_first_days_certificate(tmp_path):
    made = make("mx.contoso.test", ["mx.contoso.test"])
    own = make("mx.contoso.test", ["mx.contoso.test"])
    settings = config(tmp_path, entry(own.write(tmp_path, "own")), more=ACME)
    assert [one.chain for one in certificate_files(settings)] == [str(tmp_path / "own.pem")]
    files = AcmeFiles(settings.acme_directory)
    files.keep_pair("mta-sts.contoso.test.rsa", made.key_pem, made.chain_pem)
    files.keep_pair("mx.contoso.test.ecdsa", made.key_pem, made.chain_pem)
    listed = [Path(one.chain).name for one in certificate_files(settings)]
    assert listed == ["mx.contoso.test.ecdsa.pem", "own.pem", "mta-sts.contoso.test.rsa.pem"]
    off = config(tmp_path, entry(own.write(tmp_path, "own")))
    assert len(certificate_files(off)) == 1  # without an authority nobody renews them


def test_the_certificates_of_a_policy(tmp_path):
    documents = {"a.toml": """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.test"
vouched_by_operator = true
[[accepted_domain]]
domain_name = "unproven.test"
"""}
    policy = compile_policy(documents, hostname="mx.contoso.test", revision=1)
    more = ACME + 'mta_sts = true\nnames = ["mail.contoso.test", "mx.contoso.test"]\nkey_types = ["rsa"]\n'
    found = wanted_of(config(tmp_path, more=more), policy)
    assert [(one.name, one.names) for one in found] == [
        ("mx.contoso.test.rsa", ("mx.contoso.test", "mail.contoso.test")),
        ("mta-sts.contoso.test.rsa", ("mta-sts.contoso.test",)),
    ]
    assert wanted_of(config(tmp_path), policy) == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('directory = "http://acme.test/dir"\nterms_agreed = true', "https://"),
        ('directory = "https://user@acme.test/dir"\nterms_agreed = true', "without a login"),
        ('directory = "https://acme.test/dir"', "terms_agreed = true"),
        ('key_types = ["dsa"]', "ecdsa"),
        ('contact = ["nobody"]', ""),
        ('[acme.external_account]\nkey_id = "a"\nsecret = "s3cret"', "never stands here itself"),
    ],
)
def test_mistakes_in_the_section_are_told(tmp_path, text, why):
    from lockgate.policy.problems import Invalid

    with pytest.raises(Invalid) as caught:
        config(tmp_path, more=f"[acme]\n{text}\n")
    assert any(why in problem.message for problem in caught.value.problems)
    assert all(problem.line >= 2 for problem in caught.value.problems)
