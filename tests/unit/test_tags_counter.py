"""One totaliser: what each reading counts, and what is said about it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agent.tags.config import Counted
from agent.tags.counter import Total, fold, readable, reading
from agent.tags.values import Scalar
from tests.tag_bench import at


def rule(**keys: Any) -> Counted:
    return Counted.model_validate({"tag": "total", "max_step": 10, **keys})


def total(last: int | str, seconds: float = 0) -> Total:
    return Total(Decimal(last), at(seconds), at(seconds))


@pytest.mark.parametrize(
    ("last", "new", "counted", "action"),
    [
        ("100", "100", "0", None),
        ("100", "110", "10", None),
        ("100", "111", "0", "counter_jump"),
        ("9990", "0", "10", None),  # over the turn
        ("9995", "4", "9", None),
        ("9995", "6", "6", "counter_reset"),  # 11 over the turn are not believed
        ("5000", "0", "0", "counter_reset"),
        ("5000", "10", "10", "counter_reset"),
        ("5000", "11", "0", "counter_replaced"),
        ("5000", "4999", "0", "counter_replaced"),
        ("0.1", "0.4", "0.3", None),
    ],
)
def test_a_reading_counts_what_is_believed(last: str, new: str, counted: str, action: str | None):
    """Differences up to `max_step` count, over the turn too; what is more becomes a new baseline, with a notice."""
    step = fold(rule(modulus=10000), total(last), Decimal(new), at(1), at(1))

    assert step.counted == Decimal(counted)
    assert step.total == total(new, 1)
    assert (step.notice.action if step.notice else None) == action
    if step.notice:
        assert (step.notice.detail["before"], step.notice.detail["now"], step.notice.alarm) == (last, new, True)


def test_without_a_modulus_a_lower_reading_is_a_reset():
    """A totaliser that does not turn over began again at 0, and what it shows is counted."""
    assert fold(rule(), total(9999), Decimal(3), at(1), at(1)).counted == 3
    assert fold(rule(), total(9999), Decimal(11), at(1), at(1)).counted == 0


@pytest.mark.parametrize(("last", "new"), [("100", "99.5"), ("0.2", "9999.7"), ("100", "100")])
def test_noise_is_no_reset(last: str, new: str):
    """A reading that trembles counts nothing and moves nothing, also back over the turn; so growth counts once."""
    noisy = rule(dead_band="0.5", modulus=10000)

    trembled = fold(noisy, total(last), Decimal(new), at(1), at(1))
    grown = fold(noisy, trembled.total, Decimal(last) + 1, at(2), at(2))

    assert trembled.notice is None
    assert (trembled.counted, trembled.total.last) == (Decimal(0), Decimal(last))
    assert grown.counted == 1
    assert fold(noisy, total("100"), Decimal("99.4"), at(1), at(1)).notice is not None


def test_the_first_reading_counts_nothing():
    """The first reading is the baseline, and the trail says so without an alarm."""
    step = fold(rule(), None, Decimal(700), at(0), at(0))

    assert step.counted == 0
    assert step.notice is not None
    assert (step.notice.action, step.notice.detail, step.notice.alarm) == ("counter_started", {"now": "700"}, False)


def test_an_outage_allows_for_what_can_have_grown():
    """With `max_rate_per_s` an hour without readings may show an hour's growth, and not more."""
    hour = rule(max_rate_per_s=2)

    assert fold(hour, total(0), Decimal(7210), at(3600), at(3600)).counted == 7210
    assert fold(hour, total(0), Decimal(7211), at(3600), at(3600)).counted == 0


@pytest.mark.parametrize(("source", "ours"), [(3600, 0), (0, 3600), (-3600, 3600), (3600, -3600)])
def test_a_clock_that_was_set_back_makes_no_growth_unbelievable(source: float, ours: float):
    """The longer time of the two clocks counts."""
    assert fold(rule(max_rate_per_s=2), total(0), Decimal(7000), at(source), at(ours)).counted == 7000


def test_after_a_long_outage_a_reset_is_no_rollover():
    """However long it was away, a lower reading that would be more than half a turn on is a reset."""
    step = fold(rule(max_rate_per_s=100, modulus=10000), total(300), Decimal(10), at(3600), at(3600))

    assert step.counted == 10
    assert step.notice is not None
    assert step.notice.action == "counter_reset"


def test_a_signed_word_is_read_as_the_upper_half_of_its_turn():
    """A 16-bit totaliser that a gateway shows as signed goes on from 32767 to -32768, and from -1 to 0."""
    signed = rule(modulus=65536)

    assert reading(signed, -32768) == 32768
    for last, new in ((32767, -32768), (-1, 0)):
        before, now = reading(signed, last), reading(signed, new)
        assert isinstance(before, Decimal)
        assert isinstance(now, Decimal)
        assert fold(signed, total(str(before)), now, at(1), at(1)).counted == 1


@pytest.mark.parametrize(
    "value", [None, True, "12", Decimal("NaN"), Decimal("Infinity"), Decimal("1e40"), 10**30, Decimal("1e-40"), -1]
)
def test_what_is_no_reading_is_refused_with_a_reason(value: Scalar):
    """Null, flags, texts, NaN, infinities and numbers beyond any totaliser count nothing."""
    assert isinstance(reading(rule(), value), str)


@pytest.mark.parametrize("value", [65536, -32769])
def test_a_reading_beyond_the_turn_is_refused(value: int):
    """A number that the declared modulus does not allow shows a wrong declaration, and is no growth."""
    assert reading(rule(modulus=65536), value) == "is outside of modulus 65536"


def test_growth_is_exact():
    """Differences of binary floats as the controller shows them have no noise, however many are added."""
    last, counted = total("0"), Decimal(0)
    for tenth in range(1, 1001):
        step = fold(rule(), last, Decimal(tenth).scaleb(-1), at(tenth), at(tenth))
        last, counted = step.total, counted + step.counted

    assert counted == 100


def test_a_total_survives_the_checkpoint():
    """What is written down is read again, to the microsecond and the last digit."""
    kept = Total(Decimal("12345678901234567.890"), at(0.000001), at(7))

    assert Total.of(kept.kept()) == kept
    assert str(Total.of(kept.kept()).last) == "12345678901234567.890"


def test_whole_numbers_are_read_as_they_are():
    """64-bit counters lose no digit."""
    assert readable(2**64 - 1) == 2**64 - 1
