"""The detectors of what is usual: they find a shift that stays, are not alarmed by noise, and keep little."""

import json
import math
from collections.abc import Iterable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.detectors import cusum, level, rank, usage
from agent.detectors.usage import Finding, Usage

Stream = Iterable[tuple[float, float]]
NOT_NUMBERS = [math.nan, math.inf, -math.inf]
quantities = st.floats(1e-6, 1e9)
reports = st.lists(st.tuples(quantities, quantities), max_size=60)


def lots(random: Random, count: int, *, noise: float = 0.007, factor: float = 1.0) -> Stream:
    """Reports of a place that takes `factor` of the recipe."""
    for _ in range(count):
        expected = random.uniform(5, 50)
        yield expected * factor * math.exp(random.gauss(0, noise)), expected


def followed(state: Usage | None, stream: Stream) -> tuple[Usage | None, list[Finding | None]]:
    found = []
    for used, expected in stream:
        state, one = usage.follow(state, used, expected)
        found.append(one)
    return state, found


def shifts(found: list[Finding | None]) -> list[float]:
    return [one.shift for one in found if one and one.shift]


def through_json(state: Usage | None) -> Usage | None:
    return usage.restored(json.loads(json.dumps(state)))


@given(reports, st.integers(0, 60))
def test_a_stream_that_was_written_and_read_goes_on_as_if_it_had_not_been(stream, at):
    """At any point the state goes through JSON, and every later answer is the same to the last bit."""
    whole, expected = followed(None, stream)
    half, before = followed(None, stream[:at])
    half, after = followed(through_json(half) if half else None, stream[at:])
    assert before + after == expected
    assert half == whole if half is None else through_json(half) == through_json(whole)


@given(reports, st.tuples(quantities, quantities))
def test_what_comes_later_changes_no_answer(stream, later):
    """No look ahead: the answers to a stream are the beginning of the answers to a longer one."""
    assert followed(None, [*stream, later])[1][:-1] == followed(None, stream)[1]


def test_the_state_stays_small():
    """Ten thousand reports leave behind no more than a few hundred characters."""
    state, _ = followed(None, lots(Random(1), 10_000, noise=0.1))
    assert len(json.dumps(state)) < 700


@pytest.mark.parametrize("value", [*NOT_NUMBERS, 0.0, -1.0])
def test_what_is_no_quantity_is_refused(value):
    """NaN, infinity, zero and less never reach a state: they would stay in it for ever."""
    for used, expected in ((value, 1.0), (1.0, value)):
        with pytest.raises(ValueError, match="finite and above 0"):
            usage.follow(None, used, expected)
    if value != math.inf:
        with pytest.raises(ValueError, match="width above 0"):
            cusum.step(cusum.NOTHING, 1.0, value)


@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_what_is_no_number_is_refused(value):
    """The same for the parts by themselves."""
    with pytest.raises(ValueError, match="finite"):
        cusum.step(cusum.NOTHING, value, 1.0)
    with pytest.raises(ValueError, match="finite"):
        rank.place(value)


def test_two_per_cent_more_is_found_within_a_dozen_reports_and_told_once():
    """After the alarm the new level is the usual one: nothing is said again."""
    state, found = followed(None, lots(Random(2), 300))
    assert not any(one.shift for one in found if one)
    state, found = followed(state, lots(Random(3), 300, factor=1.02))
    (at,) = [number for number, one in enumerate(found, 1) if one and one.shift]
    assert at <= 12
    assert 0.01 < shifts(found)[0] < 0.03
    _, found = followed(state, lots(Random(4), 300))
    (back,) = shifts(found)
    assert -0.03 < back < -0.01


def test_a_single_report_that_is_far_off_is_rare_and_no_shift():
    """Ten times too much counts for three standard deviations in the sum, and for its rank."""
    state, _ = followed(None, lots(Random(5), 300))
    after, one = usage.follow(state, 200.0, 20.0)
    assert one is not None
    assert one.p < 0.005
    assert one.z > 50
    _, found = followed(after, lots(Random(6), 100))
    assert not any(later.shift for later in found if later)


def test_what_a_report_takes_whatever_its_quantity_is_learnt():
    """A millimetre of a large report and half of a small one: the allowance comes out, small reports are no news."""
    random = Random(7)
    state = None
    for _ in range(1000):
        expected = 10 ** random.uniform(-1, 3)
        used = expected * math.exp(random.gauss(0, 0.004)) + 0.13 * math.exp(random.gauss(0, 0.2))
        state, one = usage.follow(state, used, expected)
        assert one is None or not one.shift
    assert state is not None
    assert state.allowance[1] == pytest.approx(0.13, rel=0.1)
    assert state.ratio[2] == pytest.approx(0.004, rel=0.4)


def test_the_set_up_of_an_order_is_no_deviation():
    """The first report of an order holds the set-up, a later one does not: neither is unusual."""
    state, _ = followed(None, lots(Random(8), 300))
    _, first = usage.follow(state, 25.0, 20.0, set_up=5.0)
    _, later = usage.follow(state, 20.0, 20.0, set_up=5.0)
    assert first is later is None


def test_pieces_that_are_counted_are_as_fine_as_pieces():
    """A seal that fell on the floor is no sensation, although all reports before were exact."""
    state = None
    for _ in range(300):
        state, _ = usage.follow(state, 6.0, 6.0, grain=0.5)
    _, one = usage.follow(state, 7.0, 6.0, grain=0.5)
    assert one is None


@given(st.lists(st.floats(0, 1e12), max_size=200), st.floats(0, 1e12))
def test_a_rank_is_the_share_of_what_was_as_large(scores, score):
    """Never below the true share, never above it by more than the bin that the score shares; and 1 for a first one."""
    counts: Sequence[int] = []
    for one in scores:
        counts = rank.learn(counts, one)
    p = rank.p_value(counts, score)
    assert p >= (1 + sum(one >= score for one in scores)) / (1 + len(scores))
    same_bin = [one for one in scores if rank.place(one) >= rank.place(score)]
    assert p == (1 + len(same_bin)) / (1 + len(scores))


def test_the_memory_of_ranks_is_bounded_and_forgets():
    """After a thousand others a score of long ago no longer counts."""
    counts: Sequence[int] = [1]
    for _ in range(3 * rank.FULL):
        counts = rank.learn(counts, 100.0)
    assert sum(counts) <= rank.FULL
    assert counts[0] == 0


def test_good_values_are_called_rare_as_seldom_as_promised():
    """Of ten thousand exchangeable scores with heavy tails at most about one in a hundred has a p-value below that."""
    random, rare = Random(9), 0
    counts: Sequence[int] = []
    for number in range(10_000):
        score = abs(random.gauss(0, 1) / math.sqrt(random.random() + 1e-9))
        rare += number >= 500 and rank.p_value(counts, score) <= 0.01
        counts = rank.learn(counts, score)
    assert rare / 9_500 <= 0.012


@given(st.lists(st.floats(-1e6, 1e6), max_size=100))
def test_a_spread_is_never_below_its_least(values):
    """Whatever comes, a level keeps a width that one can divide by."""
    state = (0.0, 0.0, 1.0)
    for value in values:
        _, centre, spread = state
        state = level.learn(state, value - centre, spread, 1.0, 0.01)
        assert state[2] >= 0.01
        assert math.isfinite(state[1])


def test_page_is_exact_where_all_values_are_precise():
    """Values beyond the clip count 3 − 0.9 each: five of them make 10.5, six 12.6, and that crosses the limit of 12."""
    sums, width = cusum.NOTHING, 0.001
    for number in range(1, 7):
        sums, shift = cusum.step(sums, 5 * width, width)
        assert (shift is not None) == (number == 6)
    assert shift is not None
    assert shift.by == pytest.approx(3 * width)
    assert sums == cusum.NOTHING
