import math
import statistics
from decimal import Decimal
from fractions import Fraction
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from scipy import stats

from search import verdict

PROMISED_KEYS = {
    "study_name", "trial", "num_params", "channels", "epochs", "target", "dataset", "seeds", "min", "mean", "std",
    "ci95", "pass_share_lower95", "attempts", "confirmed", "commit", "versions",
}  # fmt: skip
VERSIONS = {"python": "3.12.3", "torch": "2.14.1", "torchvision": "0.29.1", "optuna": "4.6.0", "numpy": "2.3.4"}


OTHER_ATTEMPT = {
    "trial": 7, "first_seed": 20_000, "num_seeds": 5, "min": 99.39, "mean": 99.45, "same_configuration": False,
}  # fmt: skip


def make_facts(
    errors: list[int],
    *,
    dataset: str = "mnist",
    target: str = "99.4",
    attempts: int = 1,
    earlier: dict[str, Any] | None = None,
    environments: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The record of seeds 10,000 onward with these errors, each trained in the environment in its place."""
    verification = optuna.create_study(direction="maximize")
    attributes = {"search_study": "small", "trial": 31, "num_params": 7_901, "epochs": 15, "dataset": dataset}
    attributes |= {
        "channels": [[8, 10], [12, 14], [15, 17]],
        "rules": {"10000": "as asked for"},
        "attempts": {"10000": len(errors)},
    }
    for key, value in {**attributes, "config": {"lr": 0.02}, "recipe": 2, "space": "0123456789abcdef"}.items():
        verification.set_user_attr(key, value)
    for key, value in {"commit": "opened", "versions": {"torch": "opened"}}.items():
        verification.set_user_attr(key, value)  # of the command that opened it, which need not have trained anything
    num_images = 10_000 if dataset == "mnist" else 1_000
    environments = environments or [{"commit": "0123abc", "versions": VERSIONS}] * len(errors)
    for seed, (count, environment) in enumerate(zip(errors, environments, strict=True), start=10_000):
        verification.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE,
                value=100 - 100 * count / num_images,
                params={"seed": seed},
                distributions={"seed": optuna.distributions.IntDistribution(0, 2**31 - 1)},
                user_attrs={
                    "errors": count,
                    "errors_one_view": count + 9,
                    "num_views": 27,
                    "num_images": num_images,
                    "device": "cuda",
                    "precision": "bf16",
                    **environment,
                },
            )
        )
    return verdict.make_record(
        verification,
        verification.get_trials(),
        target=Decimal(target),
        earlier_attempts=[OTHER_ATTEMPT | (earlier or {})] * (attempts - 1),
        other_looks=[],
    )


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
    assert verdict.max_errors(Decimal(target), num_images) == errors


@settings(deadline=None)
@given(st.decimals("0.000001", "100", places=6), st.integers(1, 100_000))
def test_one_more_error_than_allowed_would_miss_the_target(target: Decimal, num_images: int) -> None:
    allowed = verdict.max_errors(target, num_images)
    assert 100 * Fraction(num_images - allowed, num_images) >= Fraction(target)
    assert 100 * Fraction(num_images - allowed - 1, num_images) < Fraction(target)


def test_statistics_by_hand() -> None:
    numbers = verdict.statistics([99.4, 99.5, 99.6])
    assert numbers["min"] == 99.4
    assert numbers["mean"] == pytest.approx(99.5)
    assert numbers["std"] == pytest.approx(0.1)
    half = 4.30265 * 0.1 / math.sqrt(3)  # the 97.5 % quantile of Student's t with 2 degrees of freedom
    assert numbers["ci95"] == pytest.approx([99.5 - half, 99.5 + half], abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=30, unique=True))
def test_statistics_agree_with_the_standard_library_and_scipy(errors: list[int]) -> None:
    accuracies = [(10_000 - count) / 100 for count in errors]
    numbers = verdict.statistics(accuracies)
    assert numbers["min"] == min(accuracies)
    assert numbers["mean"] == pytest.approx(statistics.fmean(accuracies))
    assert numbers["std"] == pytest.approx(statistics.stdev(accuracies))
    interval = stats.t.interval(0.95, len(errors) - 1, loc=statistics.fmean(accuracies), scale=stats.sem(accuracies))
    assert numbers["ci95"] == pytest.approx([max(0, interval[0]), min(100, interval[1])])  # no accuracy beyond these


def test_one_seed_has_no_spread() -> None:
    assert verdict.statistics([99.4]) == {"min": 99.4, "mean": 99.4, "std": None, "ci95": None}


def test_equal_seeds_have_an_interval_of_no_width() -> None:
    numbers = verdict.statistics([99.43] * 5)
    assert numbers["std"] == pytest.approx(0)
    assert numbers["ci95"] == pytest.approx([99.43, 99.43])


@pytest.mark.parametrize(
    ("num_passed", "n", "percent"),
    [(5, 5, 54.93), (14, 14, 80.74), (20, 20, 86.09), (59, 59, 95.05), (1, 1, 5.0), (4, 5, 34.26), (0, 5, 0.0)],
)
def test_how_much_n_passed_seeds_prove(num_passed: int, n: int, percent: float) -> None:
    assert 100 * verdict.pass_share_lower(num_passed, n) == pytest.approx(percent, abs=0.005)


@settings(deadline=None)
@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_at_the_lower_bound_so_many_passes_would_be_a_chance_of_one_in_twenty(passes: tuple[int, int]) -> None:
    num_passed, n = passes
    bound = verdict.pass_share_lower(num_passed, n)
    assert stats.binom.sf(num_passed - 1, n, bound) == pytest.approx(0.05, rel=1e-6)


def test_confirmed_when_every_seed_reaches_the_target_exactly() -> None:
    facts = make_facts([60, 58, 60, 55, 60])
    assert facts["confirmed"] is True
    assert facts["num_passed"] == 5
    assert verdict.verdict(facts) == (
        "CONFIRMED: every one of 5 fresh seeds reaches 99.4 % on the 10,000 test digits (at most 60 errors)."
    )


def test_one_error_too_many_in_one_seed_is_not_confirmed() -> None:
    facts = make_facts([60, 58, 61, 55, 60])
    assert facts["confirmed"] is False
    assert verdict.verdict(facts).startswith("NOT CONFIRMED: 1 of 5 fresh seeds miss 99.4 %")


def test_a_mean_above_the_target_confirms_nothing() -> None:
    facts = make_facts([10, 10, 10, 10, 61])
    assert facts["mean"] > 99.7
    assert facts["confirmed"] is False


def test_a_seed_with_nothing_right_is_a_miss_like_any_other() -> None:
    facts = make_facts([60, 10_000, 60])  # as a diverged seed is recorded
    assert facts["confirmed"] is False
    assert (facts["num_passed"], facts["min"]) == (2, 0.0)
    assert verdict.verdict(facts).startswith("NOT CONFIRMED: 1 of 3 fresh seeds miss 99.4 %")
    assert verdict.evidence(facts)[0].startswith("Minimum 0.00 %")


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(50, 70), min_size=1, max_size=6))
def test_the_verdict_is_that_of_the_worst_seed(errors: list[int]) -> None:
    facts = make_facts(errors)
    assert facts["confirmed"] is (max(errors) <= 60)
    assert facts["num_passed"] == sum(count <= 60 for count in errors)


def test_another_target_moves_the_bar() -> None:
    assert make_facts([50, 45], target="99.5")["confirmed"] is True
    assert make_facts([50, 51], target="99.5")["confirmed"] is False
    assert "99.5 %" in verdict.verdict(make_facts([50, 51], target="99.5"))


def test_the_claim_cannot_be_judged_on_the_sample() -> None:
    facts = make_facts([0, 0, 0], dataset="sample")
    assert facts["confirmed"] is None
    assert "cannot be judged on 1,000 digits of the bundled sample" in verdict.verdict(facts)
    assert "CONFIRMED" not in verdict.verdict(facts)
    assert not any("proves" in sentence for sentence in verdict.evidence(facts))


def test_the_record_has_the_keys_that_are_promised() -> None:
    facts = make_facts([60, 58])
    assert facts.keys() >= PROMISED_KEYS
    assert facts["seeds"][0] == {"seed": 10_000, "test_accuracy": 99.4, "errors": 60, "errors_one_view": 69}
    assert facts["one_view"]["mean"] == pytest.approx(99.32)
    assert facts["versions"] == VERSIONS
    assert (facts["study_name"], facts["trial"], facts["target"], facts["commit"]) == ("small", 31, 99.4, "0123abc")


def test_the_evidence_names_the_views_and_what_a_single_one_would_reach() -> None:
    (line,) = [line for line in verdict.evidence(make_facts([60, 58])) if "views" in line]
    assert line.endswith("By one view alone: minimum 99.31 %, mean 99.320 %.")


def test_the_evidence_tells_of_seeds_that_were_planned_and_not_measured() -> None:
    facts = make_facts([60, 58])
    assert not any("planned" in line for line in verdict.evidence(facts))
    assert "20 seeds had been planned, and were not all measured." in verdict.evidence(facts | {"num_planned": 20})


def test_seeds_trained_in_several_environments_name_them_all() -> None:
    newer = {"commit": "4567def", "versions": {**VERSIONS, "torch": "2.15.0"}}
    older = {"commit": "0123abc", "versions": VERSIONS}
    facts = make_facts([60, 58, 59], environments=[newer, older, newer])
    assert facts["commit"] == "0123abc, 4567def"
    assert facts["versions"] == {**VERSIONS, "torch": "2.14.1, 2.15.0"}
    assert "torch 2.14.1, 2.15.0, torchvision 0.29.1" in verdict.evidence(facts)[-1]


def test_the_evidence_says_what_the_verdict_rests_on() -> None:
    facts = make_facts([60, 58, 55, 57, 59])
    last = verdict.evidence(facts)[-1]
    for words in (
        "10000 to 10004 (n = 5)",
        "trial 31 of small",
        "7,901 parameters",
        "epochs: 15",
        "data set mnist",
        "cuda in bf16",
        "python 3.12.3, torch 2.14.1, torchvision 0.29.1",
        "commit 0123abc",
    ):
        assert words in last


def test_the_evidence_says_how_little_five_seeds_prove() -> None:
    sentence = next(line for line in verdict.evidence(make_facts([60] * 5)) if "proves" in line)
    assert "5 of 5 proves, at 95 % confidence, that at least 54.9 % of all seeds" in sentence
    assert "59 of 59 would prove 95 %" in sentence


def test_fifty_nine_seeds_prove_ninety_five_percent() -> None:
    sentence = next(line for line in verdict.evidence(make_facts([60] * 59)) if "proves" in line)
    assert "59 of 59 proves" in sentence
    assert "at least 95.0 % of all seeds" in sentence
    assert "would prove" not in sentence


def test_what_is_proved_is_never_rounded_up() -> None:
    facts = make_facts([60] * 58)
    assert 0.9495 < facts["pass_share_lower95"] < 0.95  # to the nearest tenth that would be 95.0 %
    assert any("at least 94.9 % of all seeds" in line for line in verdict.evidence(facts))


def test_the_evidence_gives_the_spread_and_what_the_interval_leaves_out() -> None:
    lines = verdict.evidence(make_facts([65, 55]))
    assert "Minimum 99.35 %, mean 99.400 %, standard deviation 0.071 points" in lines[0]
    assert "95 % interval of the mean 98.765 to 100.000 %" in lines[0]
    # 1.96 standard errors of 99.4 % on 10,000 digits
    assert "the set's own size adds about ±0.15 points" in lines[1]


def test_every_attempt_is_told() -> None:
    assert any(line.startswith("First attempt") for line in verdict.evidence(make_facts([60, 60])))
    assert any(line.startswith("Attempt 3") for line in verdict.evidence(make_facts([60], attempts=3)))


def test_new_seeds_do_not_undo_a_seed_that_missed() -> None:
    failed = {"same_configuration": True}
    facts = make_facts([60, 58], attempts=2, earlier=failed)
    assert (facts["confirmed"], facts["num_passed"], facts["num_failed_attempts"]) == (False, 2, 1)
    assert verdict.verdict(facts).startswith("NOT CONFIRMED: these 2 seeds reach")
    assert verdict.verdict(facts).endswith("but an earlier attempt at this configuration did not.")
    assert make_facts([60, 58], attempts=2, earlier=failed | {"min": 99.4})["confirmed"] is True
    assert make_facts([60, 58], attempts=2, earlier=failed | {"min": None})["confirmed"] is True  # nothing measured
    assert make_facts([60, 58], attempts=2)["confirmed"] is True  # another configuration
    assert make_facts([60, 58], attempts=2, earlier=failed, dataset="sample")["confirmed"] is None


def test_the_other_attempts_and_looks_are_told() -> None:
    facts = make_facts([60, 58], attempts=2) | {"other_looks": [{"study_name": "small-ablate-7", "num_runs": 18}]}
    lines = verdict.evidence(facts)
    words = "trial 7, seeds 20000 to 20004 (n = 5): minimum 99.39 %, mean 99.450 %"
    assert f"The other attempts: {words}." in lines
    assert "Test accuracies were also shown by small-ablate-7 (18 runs)." in lines
    begun = make_facts([60], attempts=2, earlier={"num_measured": 2})
    assert any("(n = 5), 2 measured: minimum" in line for line in verdict.evidence(begun))
    unmeasured = make_facts([60], attempts=2, earlier={"min": None})
    assert any(line.endswith("(n = 5), nothing measured.") for line in verdict.evidence(unmeasured))


def test_the_report_has_verdict_table_and_evidence() -> None:
    facts = make_facts([60, 58, 61])
    text = verdict.to_markdown(facts)
    lines = text.splitlines()
    assert lines[0] == f"# {verdict.verdict(facts)}"
    table = lines.index("| Seed | Test accuracy (%) | Errors of 10,000 | With one view |")
    assert lines[table + 2 : table + 5] == [
        "| 10000 | 99.40 | 60 | 69 |",
        "| 10001 | 99.42 | 58 | 67 |",
        "| 10002 | 99.39 | 61 | 70 |",
    ]
    assert all(sentence in text for sentence in verdict.evidence(facts))
    assert text.endswith("\n")
