"""One outcome per recipient, whatever the server does, and never two copies from one carry."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest
from msgspec.structs import replace

from couriers.senders import CONTENT, QUICK, cargo, courier, hop
from lockgate.mail.hop import CargoRecipient, Login
from lockgate.mail.outcome import Fate, Outcome
from lockgate.seams import Unreachable
from lockgate.testing.dns import ZoneResolver
from peers.certificates import Authority
from peers.smtp_peer import ALL, PLAIN, Script, SmtpPeer

WAYS = {
    "chunking": ALL,
    "pipelining": PLAIN,
    "step by step": ("8BITMIME",),
    "bdat step by step": ("8BITMIME", "CHUNKING"),
}


@pytest.mark.parametrize("extensions", WAYS.values(), ids=WAYS)
async def test_octets_arrive_as_they_were(extensions: tuple[str, ...]) -> None:
    dots = b"Subject: octets\r\n\r\n.\r\n..\r\n.dot\r\n\xe4\xf6\xfc\r\n"
    content = dots + b"x" * 998 + b"\r\n.\r\n.\r\nMAIL FROM:<>\r\n.\r\n"
    with SmtpPeer(Script(extensions=extensions)) as peer:
        sender = courier()
        for _ in range(3):
            (outcome,) = await sender.carry(hop(peer.host), cargo(content=content))
            assert outcome.fate is Fate.DELIVERED, outcome
        await sender.close()
        assert [mail.content for mail in peer.mails] == [content] * 3
        assert len(peer.sessions) == 1
        assert outcome.host == f"127.0.0.1[127.0.0.1]:{peer.port}"
        assert "BODY=8BITMIME" in peer.mails[0].mail


@pytest.mark.parametrize("extensions", WAYS.values(), ids=WAYS)
async def test_each_recipient_has_its_own_answer(extensions: tuple[str, ...]) -> None:
    script = Script(extensions=extensions, rcpt={"full@x.test": "452 4.2.2 full", "no@x.test": "550 5.1.1 nobody"})
    with SmtpPeer(script) as peer:
        sender = courier()
        outcomes = await sender.carry(hop(peer.host), cargo("a@x.test", "full@x.test", "no@x.test", "b@x.test"))
        assert [o.fate for o in outcomes] == [Fate.DELIVERED, Fate.DEFERRED, Fate.FAILED, Fate.DELIVERED]
        assert [o.recipient for o in outcomes] == [0, 1, 2, 3]
        assert outcomes[1].reply.enhanced == "4.2.2"
        assert outcomes[2].reply.enhanced == "5.1.1"
        none = await sender.carry(hop(peer.host), cargo("no@x.test"))
        assert none[0].fate is Fate.FAILED
        again = await sender.carry(hop(peer.host), cargo("a@x.test"))
        assert again[0].fate is Fate.DELIVERED
        assert len(peer.sessions) == 1
        assert len(peer.mails) == 2


ANSWERS = [
    ("mail", "550 5.7.1 not you", Fate.FAILED),
    ("mail", "451 4.7.1 later", Fate.DEFERRED),
    ("data", "554 5.6.0 no", Fate.FAILED),
    ("data", "250 2.0.0 what", Fate.DEFERRED),
    ("final", "554 5.7.1 spam", Fate.FAILED),
    ("final", "452 4.3.1 disk", Fate.DEFERRED),
    ("final", "354 hm", Fate.DEFERRED),
    ("final", "777 odd", Fate.DEFERRED),
]


# BDAT has no answer before the content.
@pytest.mark.parametrize(
    ("extensions", "where", "reply", "fate"),
    [(w, *a) for w in WAYS.values() for a in ANSWERS if not (a[0] == "data" and "CHUNKING" in w)],
)
async def test_an_answer_for_all(extensions: tuple[str, ...], where: str, reply: str, fate: Fate) -> None:
    with SmtpPeer(Script(extensions=extensions, **{where: reply})) as peer:
        outcomes = await courier().carry(hop(peer.host), cargo("a@x.test", "b@x.test"))
        assert [o.fate for o in outcomes] == [fate, fate]
        assert peer.mails == []


@pytest.mark.parametrize("extensions", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    "moment", ["connect", "greeting", "ehlo", "mail", "rcpt", "data", "content", "final", "after"]
)
async def test_a_broken_connection_never_makes_two_copies(extensions: tuple[str, ...], moment: str) -> None:
    content = CONTENT + b"line of text\r\n" * 20000
    with SmtpPeer(Script(extensions=extensions, hang_up=moment)) as peer:
        try:
            (outcome,) = await courier().carry(hop(peer.host), cargo(content=content))
        except Unreachable as trouble:
            assert moment in ("connect", "greeting", "ehlo")
            assert trouble.reply.temporary
            assert not trouble.permanent
        else:
            assert outcome.fate is (Fate.DELIVERED if moment == "after" else Fate.DEFERRED) or "CHUNKING" in extensions
            if moment in ("final", "content"):
                assert outcome.reply.enhanced == "4.4.2"
        assert len(peer.mails) <= 1


@pytest.mark.parametrize("moment", ["mail", "rcpt", "data"])
async def test_before_the_content_another_server_is_asked(moment: str) -> None:
    with SmtpPeer(Script(extensions=PLAIN, hang_up=moment)) as bad, SmtpPeer() as good:
        resolver = ZoneResolver({}, {})
        sender = courier(resolver)
        for _ in range(6):
            (outcome,) = await sender.carry(hop(bad.host, good.host), cargo())
            assert outcome.fate is Fate.DELIVERED
        assert len(good.mails) == 6
        assert bad.mails == []


async def test_a_kept_connection_that_is_dead_is_replaced() -> None:
    with SmtpPeer(Script(idle_out=1)) as peer:
        sender = courier()
        for _ in range(5):
            (outcome,) = await sender.carry(hop(peer.host), cargo())
            assert outcome.fate is Fate.DELIVERED
        assert len(peer.mails) == 5
        assert len(peer.sessions) == 5
        await sender.carry(hop(peer.host), cargo())
        peer.drop_all()
        (outcome,) = await sender.carry(hop(peer.host), cargo())
        assert outcome.fate is Fate.DELIVERED
        assert len(peer.mails) == 7


async def test_more_recipients_than_one_transaction_takes() -> None:
    with SmtpPeer(Script(most_recipients=3)) as peer:
        names = [f"r{n}@x.test" for n in range(8)]
        outcomes = await courier().carry(hop(peer.host), cargo(*names))
        assert {o.fate for o in outcomes} == {Fate.DELIVERED}
        assert [len(mail.rcpt) for mail in peer.mails] == [3, 3, 2]
    with SmtpPeer() as peer:
        outcomes = await courier(recipients=5).carry(hop(peer.host), cargo(*names))
        assert [len(mail.rcpt) for mail in peer.mails] == [5, 3]
        assert len(outcomes) == 8


@pytest.mark.parametrize("said", ["552 too many recipients", "552 5.5.3 too many", "552 5.0.0 Error: too many"])
@pytest.mark.parametrize("extensions", WAYS.values(), ids=WAYS)
async def test_552_of_old_servers_says_that_so_many_were_enough(extensions: tuple[str, ...], said: str) -> None:
    with SmtpPeer(Script(extensions=extensions, most_recipients=2, too_many=said)) as peer:
        outcomes = await courier().carry(hop(peer.host), cargo(*[f"r{n}@x.test" for n in range(5)]))
        assert {o.fate for o in outcomes} == {Fate.DELIVERED}
        assert [len(mail.rcpt) for mail in peer.mails] == [2, 2, 1]


@pytest.mark.parametrize("said", ["552 5.2.2 mailbox full", "552 5.3.4 too large for her", "552 no room for her"])
async def test_552_that_speaks_of_something_else_is_final(said: str) -> None:
    with SmtpPeer(Script(rcpt={"her@x.test": said})) as peer:
        outcomes = await courier().carry(hop(peer.host), cargo("a@x.test", "her@x.test", "b@x.test"))
        assert [o.fate for o in outcomes] == [Fate.DELIVERED, Fate.FAILED, Fate.DELIVERED]
        assert outcomes[1].reply.code == 552
        assert len(peer.mails) == 1
    with SmtpPeer(Script(rcpt={"her@x.test": said})) as peer:
        (outcome,) = await courier().carry(hop(peer.host), cargo("her@x.test"))
        assert (outcome.fate, outcome.reply.code) == (Fate.FAILED, 552)


@pytest.mark.parametrize("script", [Script(hang_up="final"), Script(extensions=PLAIN, final="451 4.3.0 not now")])
async def test_nobody_fails_by_552_when_the_others_have_to_wait(script: Script) -> None:
    with SmtpPeer(dataclasses.replace(script, most_recipients=2, too_many="552 too many recipients")) as peer:
        outcomes = await courier().carry(hop(peer.host), cargo(*[f"r{n}@x.test" for n in range(3)]))
        assert {o.fate for o in outcomes} == {Fate.DEFERRED}


async def test_the_next_server_is_tried_and_a_refused_greeting_is_temporary() -> None:
    with (
        SmtpPeer(Script(greeting="554 5.3.2 no service")) as closed,
        SmtpPeer(Script(greeting="421 4.3.2 busy")) as busy,
        SmtpPeer(Script(ehlo="550 5.7.1 no", helo="550 5.7.1 no")) as rude,
    ):
        with pytest.raises(Unreachable) as told:
            await courier().carry(hop(closed.host, busy.host, rude.host), cargo())
        assert told.value.reply.enhanced == "4.4.316"
        assert not told.value.permanent
        with SmtpPeer() as good:
            (outcome,) = await courier().carry(hop(closed.host, busy.host, rude.host, good.host), cargo())
            assert outcome.fate is Fate.DELIVERED


async def test_421_to_a_recipient_leaves_no_recipient_without_outcome() -> None:
    for extensions in WAYS.values():
        with SmtpPeer(Script(extensions=extensions, rcpt={"b@x.test": "421 4.3.2 closing"})) as peer:
            outcomes = await courier().carry(hop(peer.host), cargo("a@x.test", "b@x.test", "c@x.test"))
            assert [o.fate for o in outcomes] == [Fate.DEFERRED] * 3
            assert peer.mails == []


async def test_an_old_server_that_knows_only_helo() -> None:
    with SmtpPeer(Script(ehlo="502 5.5.1 what")) as peer:
        (outcome,) = await courier().carry(hop(peer.host), cargo())
        assert outcome.fate is Fate.DELIVERED
        assert b"HELO mail.here.test\r\n" in peer.sessions[0].clear


async def test_delivery_reports_are_asked_for_where_offered() -> None:
    recipient = CargoRecipient("bob@x.test", "rfc822;Bob+1=x@x.test", ("SUCCESS", "FAILURE"))
    with SmtpPeer() as peer:
        (outcome,) = await courier().carry(hop(peer.host), cargo(recipient, ret="HDRS", envid="a=b+c d"))
        assert outcome.dsn
        assert peer.mails[0].mail == f"MAIL FROM:<ann@here.test> SIZE={len(CONTENT)} RET=HDRS ENVID=a+3Db+2Bc+20d"
        assert peer.mails[0].rcpt == [
            "RCPT TO:<bob@x.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob+2B1+3Dx@x.test"
        ]
    with SmtpPeer(Script(extensions=PLAIN)) as peer:
        (outcome,) = await courier().carry(hop(peer.host), cargo(recipient, ret="HDRS", envid="x"))
        assert not outcome.dsn
        assert peer.mails[0].rcpt == ["RCPT TO:<bob@x.test>"]


async def test_size_limits_of_both_sides() -> None:
    with SmtpPeer(Script(extensions=("SIZE 50", "PIPELINING"))) as peer:
        (outcome,) = await courier().carry(hop(peer.host), cargo())
        assert (outcome.fate, outcome.reply.enhanced) == (Fate.FAILED, "5.3.4")
        assert b"MAIL" not in peer.sessions[0].clear
    with SmtpPeer() as peer:
        (outcome,) = await courier().carry(hop(peer.host, size_limit=10), cargo())
        assert (outcome.fate, outcome.reply.enhanced) == (Fate.FAILED, "5.3.4")


async def test_concurrency_is_bounded_and_connections_are_shared() -> None:
    with SmtpPeer(Script(pause=0.01)) as peer:
        sender = courier()
        where = hop(peer.host, concurrency=3)
        outcomes = await asyncio.gather(*[sender.carry(where, cargo()) for _ in range(20)])
        assert all(o.fate is Fate.DELIVERED for (o,) in outcomes)
        assert len(peer.mails) == 20
        assert len(peer.sessions) == 3
        await sender.close()


async def test_rate_is_kept() -> None:
    with SmtpPeer() as peer:
        sender = courier()
        where = hop(peer.host, rate=600)
        begun = asyncio.get_running_loop().time()
        for _ in range(4):
            await sender.carry(where, cargo())
        assert asyncio.get_running_loop().time() - begun >= 0.29


async def test_connections_end_after_so_many_messages_and_when_idle() -> None:
    with SmtpPeer() as peer:
        sender = courier(messages=2, patience=replace(QUICK, idle=0.1))
        for _ in range(5):
            await sender.carry(hop(peer.host), cargo())
        assert [len(session.mails) for session in peer.sessions] == [2, 2, 1]
        for _ in range(50):
            if peer.sessions[-1].clear.endswith(b"QUIT\r\n"):
                break
            await asyncio.sleep(0.05)
        assert peer.sessions[-1].clear.endswith(b"QUIT\r\n")


async def test_changed_settings_take_new_connections() -> None:
    with SmtpPeer() as peer:
        sender = courier()
        await sender.carry(hop(peer.host), cargo())
        await sender.carry(replace(hop(peer.host), helo="other.here.test"), cargo())
        assert len(peer.sessions) == 2
        assert b"EHLO other.here.test\r\n" in peer.sessions[1].clear


@pytest.mark.parametrize("moment", ["greeting", "mail", "final"])
async def test_a_silent_server_is_given_up(moment: str) -> None:
    script = Script(extensions=PLAIN, **{moment: ""})
    patience = replace(QUICK, greeting=0.3, mail=0.3, rcpt=0.3, data=0.3, final=0.3)
    with SmtpPeer(script) as peer:
        try:
            (outcome,) = await courier(patience=patience).carry(hop(peer.host), cargo())
        except Unreachable as trouble:
            assert moment == "greeting"
            assert "in time" in trouble.reply.text
        else:
            assert outcome.fate is Fate.DEFERRED
        assert len(peer.mails) <= 1


async def test_a_server_that_says_too_much_or_nonsense() -> None:
    for greeting in ("220-" + "x" * 9000, "\n".join(["220-more"] * 500 + ["220 end"]), "HTTP/1.1 400 Bad", "22\x00 a"):
        with SmtpPeer(Script(greeting=greeting)) as peer:
            with pytest.raises(Unreachable) as told:
                await courier().carry(hop(peer.host), cargo())
            assert told.value.reply.temporary
            assert told.value.reply.text.isprintable()
    with SmtpPeer(Script(final="250 2.0.0 one\n250 2.0.0 two")) as peer:
        sender = courier()
        (outcome,) = await sender.carry(hop(peer.host), cargo())
        assert outcome.fate is Fate.DELIVERED
        (outcome,) = await sender.carry(hop(peer.host), cargo())
        assert outcome.fate is Fate.DELIVERED
        assert len(peer.sessions) == 2


BEHIND = {
    "empty line": b"\r\n",
    "words": b"have a nice day\r\n",
    "endless": b"x" * 5000,
    "no line": b"250",
    "two codes": b"250-a\r\n251 b\r\n",
    "a yes and words": b"250 2.0.0 again\r\nhave a nice day\r\n",
}


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("extensions", WAYS.values(), ids=WAYS)
async def test_a_yes_counts_whatever_stands_behind_it(
    extensions: tuple[str, ...], secure: bool, tmp_path: Path
) -> None:
    context = Authority(tmp_path).issue("mail.partner.test").server_context() if secure else None
    for behind in BEHIND.values():
        told: list[Outcome] = []
        with SmtpPeer(Script(extensions=extensions, context=context, behind=behind)) as peer:
            sender = courier()
            for count in (1, 2):
                (outcome,) = await sender.carry(hop(peer.host), cargo(), told.extend)
                assert outcome.fate is Fate.DELIVERED, (behind, outcome)
                assert bool(outcome.tls) == secure
                assert told == [outcome], "it is on record"
                assert len(peer.mails) == count
                told.clear()
            assert [len(session.mails) for session in peer.sessions] == [1, 1], "no second message goes there"
            await sender.close()


async def test_a_no_counts_whatever_stands_behind_it() -> None:
    with SmtpPeer(Script(final="554 5.7.1 spam", behind=b"\r\n")) as peer:
        (outcome,) = await courier().carry(hop(peer.host), cargo())
        assert (outcome.fate, outcome.reply.enhanced) == (Fate.FAILED, "5.7.1")
        assert len(peer.sessions) == 1


async def test_a_yes_counts_although_the_stream_breaks_behind_it(tmp_path: Path) -> None:
    context = Authority(tmp_path).issue("mail.partner.test").server_context()
    script = Script(context=context, behind=b"421 4.3.2 bye\r\n", behind_in_clear=True)
    with SmtpPeer(script) as peer:
        sender = courier()
        for count in (1, 2):
            (outcome,) = await sender.carry(hop(peer.host), cargo())
            assert outcome.fate is Fate.DELIVERED, outcome
            assert len(peer.mails) == count
        assert len(peer.sessions) == 2


@pytest.mark.parametrize("data", ["354 go\nnonsense", "nonsense"])
async def test_nothing_is_sent_to_a_server_that_talks_nonsense_before_the_content(data: str) -> None:
    with SmtpPeer(Script(extensions=PLAIN, data=data)) as bad, SmtpPeer() as good:
        for _ in range(4):
            (outcome,) = await courier().carry(hop(bad.host, good.host), cargo())
            assert outcome.fate is Fate.DELIVERED
        assert len(good.mails) == 4
        assert bad.mails == []
        assert all(CONTENT not in session.clear for session in bad.sessions)


@pytest.mark.parametrize(
    ("script", "spoken"),
    [
        (Script(), True),
        (Script(rcpt={"bob@there.test": "451 4.2.1 later"}), True),
        (Script(final="554 5.6.0 no"), True),
        (Script(mail="421 4.3.2 bye", hang_up="rcpt"), True),
        (Script(hang_up="final"), False),
        (Script(hang_up="mail"), False),
        (Script(final="777 odd"), False),
        (Script(final="354 hm"), False),
        (Script(extensions=("PIPELINING", "SIZE 10")), False),
    ],
)
async def test_our_words_about_a_server_are_not_taken_for_its_own(script: Script, spoken: bool) -> None:
    with SmtpPeer(script) as peer:
        (outcome,) = await courier().carry(hop(peer.host), cargo())
    assert outcome.spoken is spoken, outcome


async def test_cancelling_leaves_no_connection() -> None:
    with SmtpPeer(Script(final="")) as peer:
        sender = courier()
        task = asyncio.ensure_future(sender.carry(hop(peer.host, concurrency=1), cargo()))
        while not (peer.sessions and b"the body" in peer.sessions[0].clear):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        peer.script = Script()
        (outcome,) = await sender.carry(hop(peer.host, concurrency=1), cargo())
        assert outcome.fate is Fate.DELIVERED


async def test_a_login_is_never_said_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_SECRET", "s3cret")
    where = {"login": Login("user", "env:HOST_SECRET")}
    with SmtpPeer(Script(extensions=(*ALL, "AUTH PLAIN LOGIN"))) as peer:
        with pytest.raises(Unreachable) as told:
            await courier().carry(hop(peer.host, **where), cargo())
        assert told.value.reply.enhanced == "4.7.0"
        assert b"AUTH" not in peer.sessions[0].clear
        assert b"MAIL" not in peer.sessions[0].clear


async def test_addresses_that_cannot_be_written() -> None:
    with SmtpPeer() as peer:
        outcomes = await courier().carry(
            hop(peer.host), cargo("a@x.test", "b@x.test>\r\nRCPT TO:<evil@x.test", "c d@x.test")
        )
        assert [o.fate for o in outcomes] == [Fate.DELIVERED, Fate.FAILED, Fate.FAILED]
        assert peer.mails[0].rcpt == ["RCPT TO:<a@x.test>"]
