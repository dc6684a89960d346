"""Every story beside this file comes true when `lockgate stories` plays it; and one that does not is told so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from doors.terminal import run
from lockgate.flow.stories import failures, play, read_story
from lockgate.policy.problems import Invalid
from lockgate.testing.builders import policy_of

HERE = Path(__file__).parent
STORIES = sorted(HERE.glob("*.story"))


def test_every_story_comes_true() -> None:
    code, out, err = run("stories", str(HERE), "--json")
    told = json.loads(out)
    assert [story["file"] for story in told["stories"]] == [str(path) for path in STORIES]
    assert [one for story in told["stories"] for one in story["failures"]] == []
    assert (code, told["failed"], err) == (0, 0, "")


def test_a_story_that_does_not_come_true_is_told_with_file_and_line(tmp_path: Path) -> None:
    shutil.copytree(HERE / "policy", tmp_path / "policy")
    text = (HERE / "the_bank_speaks_plain_text.story").read_text()
    story = tmp_path / "bank.story"
    story.write_text(text.replace("refused 5.7.1", "refused 5.7.2").replace("Bank: TLS", "Bank: nothing"))
    (tmp_path / "good.story").write_text(text)
    code, out, err = run("stories", str(tmp_path))
    assert code == 1
    assert "FAIL" in out and "2 stories: 1 came true, 1 did not." in out
    assert f"{story}:4: ben@contoso.com: expected refused 5.7.2, found refused 5.7.1" in err
    assert f"{story}:5: because: no step says: partner connector Bank: nothing is required" in err


def test_all_stories_can_be_played_by_a_draft(tmp_path: Path) -> None:
    draft = (HERE / "policy" / "contoso.toml").read_text().replace('ip_block_list = ["203.0.113.0/24"]', "")
    (tmp_path / "draft.toml").write_text(draft)
    played = tmp_path / "stories"
    played.mkdir()
    for story in HERE.glob("*.story"):
        if "policy/contoso.toml" in story.read_text():
            shutil.copy(story, played)
    code, out, err = run("stories", str(played), "--policy", str(tmp_path))
    count = len(list(played.iterdir()))
    assert code == 1 and f"{count} stories: {count - 1} came true, 1 did not." in out
    assert "expected refused 5.7.513, found refused 5.4.1" in err


MAILBOXES_HERE = """[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
"""
HOSTED = """given policy.toml
from 198.51.100.9
mail x@sender.test -> ann@contoso.com
suppose who-is ann@contoso.com = mailbox
expect ann@contoso.com delivered by mailbox store
"""


def test_hosted_mailboxes_are_known_from_the_operators_file_or_the_story(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(MAILBOXES_HERE)
    story = tmp_path / "hosted.story"
    story.write_text(HOSTED)
    file = tmp_path / "lockgate.toml"
    (tmp_path / "mail").mkdir()
    file.write_text('hostname = "mx.contoso.com"\n\n[mailboxes]\ndirectory = "mail"\n')
    code, _, err = run("stories", str(story))
    assert code == 1 and "found delivered by mx contoso.com" in err, "nothing says that mailboxes are here"
    code, out, err = run("--config", str(file), "stories", str(story))
    assert (code, err) == (0, ""), out
    file.write_text('hostname = "mx.contoso.com"\n')
    assert run("--config", str(file), "stories", str(story))[0] == 1
    story.write_text(HOSTED + "mailboxes here\n")
    code, out, err = run("stories", str(story))
    assert (code, err) == (0, ""), out


def test_stories_with_and_without_mailboxes_share_their_documents(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(MAILBOXES_HERE)
    (tmp_path / "here.story").write_text(HOSTED + "mailboxes here\n")
    elsewhere = HOSTED.replace("by mailbox store", "by mx contoso.com")
    (tmp_path / "elsewhere.story").write_text(elsewhere)
    code, out, err = run("stories", str(tmp_path))
    assert (code, err) == (0, ""), out


MISTAKES = {
    "mailboxes there": (1, "write `mailboxes here`"),
    "expects nothing": (1, "did you mean 'expect'?"),
    "from 300.1.2.3": (1, "does not appear to be an IPv4 or IPv6 address"),
    "from 192.0.2.1 tls 1.3 certificat x": (1, "is none of helo NAME"),
    "mail x -> y@z.test": (1, "an address needs a local part"),
    "mail x@y.test": (1, "write `mail SENDER -> RECIPIENT"),
    "# a remark\nsuppose spf = fail": (2, "nothing asks about 'spf'"),
    "suppose who-is a@b.test = mailbx": (1, "did you mean 'mailbox'?"),
    "expect a@b.test": (1, "write `expect RECIPIENT WHAT`"),
    "header nonsense": (1, "write `header Name: value`"),
    "size many": (1, "is no number of octets"),
    "declared much": (1, "is no number of octets"),
    "at teatime": (1, "is no time"),
    "mail a@b.test -> c@d.test": (1, "a story says `from`"),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_line_that_is_not_understood_has_its_number(text: str) -> None:
    line, says = MISTAKES[text]
    with pytest.raises(Invalid) as trouble:
        read_story(text, "odd.story")
    first = trouble.value.problems[0]
    assert (first.file, first.line) == ("odd.story", line)
    assert says in first.message


def test_a_document_that_is_wrong_or_missing_is_told_with_its_place(tmp_path: Path) -> None:
    story = "given policy.toml\nfrom 192.0.2.1\nmail <> -> a@b.test\nexpect everything refused 5.1.1\n"
    (tmp_path / "a.story").write_text(story)
    code, _, err = run("stories", str(tmp_path))
    assert code == 1 and f"{tmp_path}/a.story:1: given: {tmp_path}/policy.toml cannot be read" in err
    (tmp_path / "policy.toml").write_text('[[organisation]]\nname = "x"\ncolour = "red"\n')
    code, _, err = run("stories", str(tmp_path))
    assert code == 1 and f"{tmp_path}/policy.toml:3: organisation[0].colour" in err
    code, _, err = run("stories", str(tmp_path / "nowhere"))
    assert code == 2 and "no *.story file" in err


def test_a_story_may_hold_a_message(tmp_path: Path) -> None:
    policy = policy_of((HERE / "policy" / "contoso.toml").read_text())
    text = """
    from    203.0.113.7 helo mx.sender.test tls 1.2
    mail    <> -> ben@contoso.com
    subject Your INVOICE
    header  Received: a
    require-tls
    at      2026-11-24
    suppose who-is ben@contoso.com = mail_user Ben@contoso.com -> ben@inside.test
    expect  ben@contoso.com delivered by mx inside.test with requiretls to ben@inside.test
    because IP allow list: it names 203.0.113.7
    """
    story = read_story(text, "message.story")
    course = play(story, policy)
    assert failures(story, course) == ()
    facts = course.facts
    assert facts.message is not None and facts.message.subject == "Your INVOICE" and facts.message.hops == 1
    assert facts.at == story.at == 1795478400.0
    assert facts.connection.tls is not None and facts.connection.tls.version == "TLSv1.2"
