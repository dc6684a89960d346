"""When certificates are ordered: at two thirds of their life, spread, and later each time an order fails."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lockgate.flow.renewal import (
    LONGEST_REST,
    RENEW_AFTER,
    SPREAD,
    Attempt,
    Held,
    Wanted,
    after_failure,
    due,
    due_at,
    wanted,
    worrying,
)

DAY = 86400.0
OURS = Wanted("ecdsa", ("mx.contoso.test", "mail.contoso.test"))


def held(life: float = 90 * DAY, serial: str = "1", names: tuple[str, ...] = OURS.names) -> Held:
    return Held(names, 0.0, life, serial)


@given(st.floats(DAY, 400 * DAY), st.text("0123456789abcdef", min_size=1))
def test_renewal_is_at_two_thirds_of_life_with_a_spread(life, serial):
    at = due_at(OURS, held(life, serial))
    assert life * RENEW_AFTER <= at <= life * (RENEW_AFTER + SPREAD)
    assert at == due_at(OURS, held(life, serial))  # a restart does not draw again


def test_two_of_one_hour_are_not_renewed_at_one_hour():
    assert len({due_at(OURS, held(serial=str(number))) for number in range(50)}) == 50


def test_what_is_missing_or_has_other_names_is_due_at_once():
    assert due_at(OURS, None) == 0.0
    assert due_at(OURS, held(names=("mx.contoso.test",))) == 0.0
    assert due_at(OURS, held(names=tuple(reversed(OURS.names)))) > 0.0


def test_failures_rest_longer_each_time_and_never_longer_than_a_day_and_a_bit():
    attempt, rests = Attempt(), []
    for _ in range(12):
        attempt = after_failure(attempt, "no", 1000.0, OURS.name)
        rests.append(attempt.rest_until - 1000.0)
        assert due([OURS], {}, {OURS.name: attempt}, 1000.0) == ()
        assert due([OURS], {}, {OURS.name: attempt}, attempt.rest_until) == (OURS,)
    assert rests[0] >= 3600 and rests[1] > rests[0] * 1.5 and rests[-1] <= LONGEST_REST * 1.2
    assert attempt.failures == 12


def test_one_mishap_with_weeks_to_go_disturbs_nobody():
    once = after_failure(Attempt(), "no", 0.0, OURS.name)
    twice = after_failure(once, "no", 0.0, OURS.name)
    assert not worrying(OURS, held(), Attempt()) and not worrying(OURS, None, Attempt())
    assert worrying(OURS, None, once) and not worrying(OURS, held(), once) and worrying(OURS, held(), twice)


def test_ours_has_all_names_and_the_others_have_one_each():
    found = wanted("mx.a.test", ["b.test", "mx.a.test"], ["ecdsa", "rsa", "rsa"], ["mta-sts.z.test", "b.test"])
    assert [(one.kind, one.names) for one in found] == [
        ("ecdsa", ("mx.a.test", "b.test")), ("rsa", ("mx.a.test", "b.test")),
        ("ecdsa", ("mta-sts.z.test",)), ("rsa", ("mta-sts.z.test",)),
    ]  # fmt: skip
