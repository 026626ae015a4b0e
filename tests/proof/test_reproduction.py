"""A repeated proof, compared with its record."""

from collections.abc import Sequence

import pytest
from evidence import ON_THE_SAMPLE, ask, make_proof, measure

from search.config import RECIPE
from search.proof.estimates import accuracy
from search.proof.evidence import KeptModel, Proof
from search.proof.parts import Environment
from search.proof.reproduction import Repeated, Reproduction, compare, precision_to_repeat

HERE = Environment(device="cpu", precision="fp32", commit="89abcde", versions={"torch": "2.14.1"})


def recorded(*errors: int, device: str = "cpu", precision: str = "fp32", recipe: int = RECIPE) -> Proof:
    """The record of seeds 10,000 onward, whose first model was kept."""
    kept = KeptModel(file="seed.safetensors", seed=10_000, errors=errors[0], errors_one_view=errors[0] + 9)
    return make_proof(errors, device=device, precision=precision, recipe=recipe, model=kept)


def run_of(seed: int, errors: int) -> Repeated:
    """A seed that was trained again."""
    return Repeated(seed=seed, test_accuracy=accuracy(errors, 10_000), errors=errors, errors_one_view=errors + 9)


def repeat(proof: Proof, *seeds: int, errors: int = 60, model_errors: int | None = None) -> Reproduction:
    """What is said of seeds that were trained again, with so many errors each."""
    runs = [run_of(seed, errors) for seed in seeds]
    return compare(proof, runs, HERE, model_errors=model_errors)


PROOF = recorded(50, 45, 55)  # 99.5 % on average, with a standard deviation of 0.05 points


def test_recorded_seeds_are_compared_error_by_error() -> None:
    found = repeat(PROOF, 10_000, errors=60, model_errors=50)
    assert (found.identical, found.within_spread, found.reproduced) == (False, True, True)
    found = repeat(PROOF, 10_000, errors=50, model_errors=50)
    assert (found.identical, found.within_spread, found.reproduced) == (True, None, True)  # nothing else to judge
    [row] = found.seeds
    assert (row.seed, row.errors, row.recorded_errors, row.test_accuracy) == (10_000, 50, 50, 99.5)
    assert (found.num_judged, found.mean, found.margin) == (0, None, None)


def test_a_record_of_one_seed_has_no_spread() -> None:
    one = recorded(59)
    found = repeat(one, 10_000, errors=60, model_errors=59)
    assert (found.identical, found.within_spread, found.reproduced) == (False, None, None)
    assert repeat(one, 20_000).reproduced is None
    assert repeat(one, 20_000, model_errors=59).reproduced is None  # the file alone repeats nothing
    assert repeat(one, 20_000, model_errors=58).reproduced is False
    found = repeat(one, 10_000, errors=59, model_errors=59)
    assert (found.identical, found.within_spread, found.reproduced) == (True, None, True)


def test_a_model_that_errs_otherwise_than_recorded_is_not_reproduced() -> None:
    found = repeat(PROOF, 20_000, model_errors=51)
    assert (found.model_errors, found.recorded_model_errors, found.model_agrees) == (51, 50, False)
    assert (found.within_spread, found.reproduced) == (True, False)


@pytest.mark.parametrize(("device", "precision"), [("cuda", "fp32"), ("cpu", "bf16"), ("cpu, cuda", "fp32")])
def test_a_model_of_another_arithmetic_may_round_otherwise(device: str, precision: str) -> None:
    found = repeat(recorded(50, 45, 55, device=device, precision=precision), 20_000, model_errors=51)
    assert (found.model_agrees, found.reproduced) == (False, True)
    assert repeat(recorded(50, 45, 55, device=device, precision=precision), 20_000, model_errors=56).reproduced is False


def test_a_model_of_before_own_kernels_may_round_otherwise_on_another_cpu() -> None:
    assert repeat(recorded(50, 45, 55, recipe=4), 20_000, model_errors=51).reproduced is True
    assert repeat(recorded(50, 45, 55), 20_000, model_errors=51).reproduced is False


def test_without_a_model_nothing_is_said_of_it() -> None:
    found = repeat(make_proof([50, 45, 55]), 20_000)
    assert (found.model_errors, found.recorded_model_errors, found.model_agrees) == (None, None, None)


def test_other_seeds_are_compared_by_the_spread() -> None:
    found = repeat(PROOF, 20_000, 20_001)
    assert found.identical is None
    assert [row.recorded_errors for row in found.seeds] == [None, None]
    assert found.mean == pytest.approx(99.4)
    # t(0.975, 2 degrees of freedom) = 4.303; 4.303 * 0.05 * sqrt(1/3 + 1/2)
    assert found.margin == pytest.approx(0.1964, abs=1e-4)
    assert (found.num_judged, found.within_spread, found.reproduced) == (2, True, True)
    far = repeat(recorded(30, 25, 35), 20_000, 20_001)
    assert (far.within_spread, far.reproduced) == (False, False)


def test_repeated_seeds_that_agree_leave_the_others_to_be_judged() -> None:
    proof = recorded(60, 61)
    found = repeat(proof, 10_000, errors=60)
    assert (found.identical, found.num_judged, found.reproduced) == (True, 0, True)
    runs = [run_of(10_000, 60), run_of(20_000, 200)]
    found = compare(proof, runs, HERE, model_errors=None)
    assert (found.identical, found.num_judged, found.mean, found.within_spread) == (True, 1, 98.0, False)
    assert found.reproduced is False


def test_repeated_seeds_that_do_not_agree_are_judged_with_the_others() -> None:
    runs = [run_of(10_000, 49), run_of(20_000, 51)]
    found = compare(PROOF, runs, HERE, model_errors=None)
    assert (found.identical, found.num_judged, found.mean) == (False, 2, pytest.approx(99.5))
    assert found.reproduced is True


@pytest.mark.parametrize(
    ("errors", "repeated", "model_errors", "before"),
    [
        # As it was computed before records were types: identical, judged, margin, within the spread, reproduced.
        ([50, 45, 55], {10_000: 60}, 50, (False, 1, 0.24841377117501887, True, True)),
        ([50, 45, 55], {20_000: 60, 20_001: 60}, None, (None, 2, 0.19638832976623546, True, True)),
        ([30, 25, 35], {20_000: 60, 20_001: 60}, None, (None, 2, 0.19638832976623546, False, False)),
        ([59], {10_000: 60}, 59, (False, 1, None, None, None)),
    ],
)
def test_the_same_repetition_is_judged_as_it_was_before(
    errors: Sequence[int],
    repeated: dict[int, int],
    model_errors: int | None,
    before: tuple[bool | None, int, float | None, bool | None, bool | None],
) -> None:
    runs = [run_of(seed, count) for seed, count in repeated.items()]
    found = compare(recorded(*errors), runs, HERE, model_errors=model_errors)
    identical, num_judged, margin, within_spread, reproduced = before
    assert found.margin == (pytest.approx(margin) if margin is not None else None)
    assert (found.identical, found.num_judged) == (identical, num_judged)
    assert (found.within_spread, found.reproduced) == (within_spread, reproduced)


def test_a_reproduction_says_what_it_repeats_and_where() -> None:
    proof = make_proof([6, 5], study_name="quick", trial=4, epochs=3, **ON_THE_SAMPLE)
    runs = [run_of(10_000, 6)]
    found = compare(proof, runs, HERE, model_errors=None, num_earlier=1)
    assert (found.study_name, found.trial, found.epochs, found.dataset) == ("quick", 4, 3, "sample")
    assert (found.num_params, found.recorded_mean, found.num_earlier) == (7_893, proof.mean, 1)
    assert (found.config, found.recipe, found.num_images, found.target) == (proof.config, 4, 1_000, 99.4)
    assert found.environment == HERE
    assert found.recorded_with == proof.environment
    [known] = found.tested
    assert known.subject == proof.subject  # what it sees counts at the next proof of that configuration


@pytest.mark.parametrize(
    ("precision", "expected"), [("fp32", "fp32"), ("bf16", "bf16"), ("bf16, fp32", "as usual"), ("", "as usual")]
)
def test_the_recorded_precision_is_repeated_where_it_is_one(precision: str, expected: str) -> None:
    assert precision_to_repeat(recorded(60, precision=precision), "as usual") == expected


@pytest.mark.parametrize(
    ("errors", "identical", "closest"),
    [(61, True, 61), (58, True, 58), (60, False, 61), (57, False, 58), (0, False, 58)],
)
def test_a_seed_of_several_recorded_outcomes_agrees_with_any_of_them(
    errors: int, identical: bool, closest: int
) -> None:
    proof = make_proof([61, 60], seeds=(measure(10_000, 58, 61), measure(10_001, 60)))
    found = compare(proof, [run_of(10_000, errors)], HERE, model_errors=None)
    assert (found.identical, found.seeds[0].recorded_errors) == (identical, closest)
    assert found.recorded_mean == pytest.approx(99.395)  # of the worst of each


def test_the_recorded_model_is_compared_with_what_it_made_not_with_the_worst_of_its_seed() -> None:
    kept = KeptModel(file="seed.safetensors", seed=10_000, errors=58, errors_one_view=67)
    proof = make_proof(
        [61], seeds=(measure(10_000, 58, 61),), model=kept, device="cpu", precision="fp32", recipe=RECIPE
    )
    for model_errors, agrees in ((58, True), (61, False)):
        found = compare(proof, [run_of(10_000, 61)], HERE, model_errors=model_errors)
        assert (found.recorded_model_errors, found.model_agrees, found.reproduced) == (58, agrees, agrees)


def test_seeds_that_miss_the_highest_target_of_the_proof_are_counted() -> None:
    proof = make_proof([50, 45], asked=(ask(10_000, 2, 99.5), ask(10_000, 2, 99.4)))
    found = compare(proof, [run_of(10_000, 50), run_of(20_000, 51)], HERE, model_errors=None)
    assert (found.target, found.num_missed) == (99.5, 1)


def test_equal_recorded_errors_let_another_seed_differ_by_one_but_not_by_many() -> None:
    proof = recorded(*[50] * 10)
    assert repeat(proof, 20_000, errors=51).reproduced is True
    assert repeat(proof, 20_000, errors=60).reproduced is False
