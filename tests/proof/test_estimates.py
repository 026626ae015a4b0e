"""The statistics of a proof, by hand and against scipy."""

import math
import statistics
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from search.proof import estimates
from search.proof.estimates import Estimate, estimate, set_error


def test_a_set_of_images_adds_its_own_error_even_where_all_are_right() -> None:
    assert set_error(99.4, 10_000) == pytest.approx(0.1525, abs=0.0001)
    found = stats.binomtest(50, 50).proportion_ci(method="wilson")
    assert set_error(100.0, 50) == pytest.approx(100 * (found.high - found.low) / 2)
    found = stats.binomtest(9_939, 10_000).proportion_ci(method="wilson")
    assert set_error(99.39, 10_000) == pytest.approx(100 * (found.high - found.low) / 2)


@pytest.mark.parametrize(
    ("target", "num_images", "errors"),
    [
        ("99.4", 10_000, 60),
        ("99.40", 10_000, 60),
        ("99.41", 10_000, 59),
        ("99.399", 10_000, 60),
        ("99.401", 10_000, 59),
        ("99.4", 1_000, 6),
        ("99.45", 1_000, 5),
        ("100", 10_000, 0),
        ("0.01", 10_000, 9_999),
    ],
)
def test_a_target_is_a_count_of_errors(target: str, num_images: int, errors: int) -> None:
    assert estimates.max_errors(Decimal(target), num_images) == errors


@given(st.decimals("0.000001", "100", places=6), st.integers(1, 100_000))
def test_one_more_error_than_allowed_would_miss_the_target(target: Decimal, num_images: int) -> None:
    allowed = estimates.max_errors(target, num_images)
    assert 100 * Fraction(num_images - allowed, num_images) >= Fraction(target)
    assert 100 * Fraction(num_images - allowed - 1, num_images) < Fraction(target)


def test_statistics_by_hand() -> None:
    found = estimate([99.4, 99.5, 99.6])
    assert found.min == 99.4
    assert found.mean == pytest.approx(99.5)
    assert found.std == pytest.approx(0.1)
    half = 4.30265 * 0.1 / math.sqrt(3)  # the 97.5 % quantile of Student's t with 2 degrees of freedom
    assert found.ci95 == pytest.approx((99.5 - half, 99.5 + half), abs=1e-6)


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=30, unique=True))
def test_statistics_agree_with_the_standard_library_and_scipy(errors: list[int]) -> None:
    accuracies = [(10_000 - count) / 100 for count in errors]
    found = estimate(accuracies)
    assert found.min == min(accuracies)
    assert found.mean == pytest.approx(statistics.fmean(accuracies))
    assert found.std == pytest.approx(statistics.stdev(accuracies))
    interval = stats.t.interval(0.95, len(errors) - 1, loc=statistics.fmean(accuracies), scale=stats.sem(accuracies))
    assert found.ci95 == pytest.approx((max(0, interval[0]), min(100, interval[1])))  # no accuracy beyond these


def test_one_seed_has_no_spread() -> None:
    assert estimate([99.4]) == Estimate(min=99.4, mean=99.4, std=None, ci95=None)
    assert estimates.std_of([99.4]) is None
    assert estimates.prediction_margin(None, 1, 5, num_images=10_000) is None


def test_of_no_runs_there_is_neither_mean_nor_spread() -> None:
    assert (estimates.mean_of([]), estimates.std_of([])) == (None, None)


def test_equal_seeds_have_no_interval_for_they_hide_their_spread() -> None:
    found = estimate([99.43] * 5)
    assert found.std == pytest.approx(0)
    assert found.ci95 is None
    assert estimates.difference_margin([(99.50, 99.52), (99.48, 99.50)]) is None


@pytest.mark.parametrize(
    ("num_passed", "n", "percent"),
    [(5, 5, 54.93), (14, 14, 80.74), (20, 20, 86.09), (59, 59, 95.05), (1, 1, 5.0), (4, 5, 34.26), (0, 5, 0.0)],
)
def test_how_much_n_passed_seeds_prove(num_passed: int, n: int, percent: float) -> None:
    assert 100 * estimates.pass_share_lower(num_passed, n) == pytest.approx(percent, abs=0.005)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_at_the_lower_bound_so_many_passes_would_be_a_chance_of_one_in_twenty(passes: tuple[int, int]) -> None:
    num_passed, n = passes
    bound = estimates.pass_share_lower(num_passed, n)
    assert stats.binom.sf(num_passed - 1, n, bound) == pytest.approx(0.05, rel=1e-6)


def test_fifty_nine_seeds_are_the_fewest_that_prove_ninety_five_percent() -> None:
    assert estimates.MANY_SEEDS == 59
    assert estimates.pass_share_lower(59, 59) >= 0.95 > estimates.pass_share_lower(58, 58)


def test_the_mean_of_many_further_runs_is_predicted_more_closely() -> None:
    # t(0.975, 2 degrees of freedom) = 4.30265
    margin = estimates.prediction_margin(0.05, 3, 2, num_images=10_000)
    assert margin == pytest.approx(4.30265 * 0.05 * math.sqrt(1 / 3 + 1 / 2), abs=1e-6)
    one, many = (estimates.prediction_margin(0.05, 20, num_further, num_images=10_000) for num_further in (1, 100))
    assert one is not None
    assert many is not None
    assert many < one


@given(st.integers(2, 60), st.sampled_from([1_000, 10_000]))
def test_equal_errors_do_not_make_another_error_a_disagreement(num_recorded: int, num_images: int) -> None:
    none = estimates.prediction_margin(0.0, num_recorded, 1, num_images=num_images)
    half = estimates.prediction_margin(50 / num_images, num_recorded, 1, num_images=num_images)
    assert none is not None
    assert none == half
    assert none >= 100 / num_images  # one error more or less


def test_many_equal_errors_leave_no_room_for_more_than_an_error() -> None:
    margin = estimates.prediction_margin(0.0, 20, 1, num_images=10_000)
    assert margin is not None
    assert 0.01 <= margin < 0.02
