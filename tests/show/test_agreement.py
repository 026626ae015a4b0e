"""A reproduction in words."""

from typing import Any

import pytest

from search.proof.records import Environment, RepeatedSeed, Reproduction
from search.show.reproduction import VERDICTS, agreement

RECORDED = Environment(device="cpu", precision="fp32", commit="0123abc4567def89", versions={"torch": "2.14.1"})


def make_reproduction(**changes: Any) -> Reproduction:
    """Two other seeds than the recorded ones, whose mean agrees."""
    seeds = [RepeatedSeed(seed=seed, test_accuracy=99.4, errors=60, recorded_errors=None) for seed in (20_000, 20_001)]
    facts = {
        "study_name": "small",
        "trial": 2,
        "num_params": 7_893,
        "epochs": 15,
        "dataset": "mnist",
        "seeds": seeds,
        "identical": None,
        "num_judged": 2,
        "mean": 99.4,
        "recorded_mean": 99.5,
        "margin": 0.1964,
        "within_spread": True,
        "model_errors": None,
        "recorded_model_errors": None,
        "model_agrees": None,
        "reproduced": True,
        "num_earlier": 0,
        "device": "cpu",
        "precision": "fp32",
        "commit": "0123abc",
        "versions": {"python": "3.12.3", "torch": "2.14.1"},
        "recorded_with": RECORDED,
    }
    return Reproduction.model_validate(facts | changes)


def test_a_mean_is_told_beside_what_was_to_be_expected() -> None:
    assert agreement(make_reproduction())[0] == (
        "The mean of 2 seeds, 99.400 %, lies within the recorded 99.500 ± 0.196 % "
        "(95 % prediction interval for so many)."
    )
    assert "LIES OUTSIDE" in agreement(make_reproduction(within_spread=False))[0]
    assert agreement(make_reproduction(num_judged=1))[0].startswith("The accuracy of one seed, 99.400 %, lies within")


def test_seeds_that_repeat_their_errors_are_told() -> None:
    lines = agreement(make_reproduction(identical=True, within_spread=None))
    assert lines[0] == "IDENTICAL: every recorded seed that was repeated makes the recorded number of errors."
    lines = agreement(make_reproduction(identical=False, within_spread=None))
    assert lines[0].startswith("Not identical, as is to be expected where the processor")


def test_a_model_that_errs_otherwise_than_recorded_is_told() -> None:
    same = make_reproduction(model_errors=60, recorded_model_errors=60, model_agrees=True)
    assert agreement(same)[0] == "The recorded model makes 60 errors, as recorded."
    other = make_reproduction(model_errors=51, recorded_model_errors=50, model_agrees=False)
    assert agreement(other)[0] == "The recorded model makes 51 errors, not as recorded (50)."


def test_runs_of_an_earlier_command_are_told() -> None:
    line = agreement(make_reproduction(num_earlier=1))[0]
    assert line == "Trained by an earlier command with this storage, and not again: 1 of 2."


def test_a_reproduction_names_what_it_and_the_record_were_made_with() -> None:
    *_, recorded, repeated = agreement(make_reproduction())
    assert recorded == "Recorded: cpu in fp32, torch 2.14.1, commit 0123abc4567def89."
    assert repeated == "Repeated: cpu in fp32, python 3.12.3, torch 2.14.1, commit 0123abc."


@pytest.mark.parametrize(("reproduced", "words"), [(True, "REPR"), (False, "NOT REPR"), (None, "NOT JUDGED")])
def test_the_verdict_comes_first_in_capitals(reproduced: bool | None, words: str) -> None:
    assert VERDICTS[reproduced].startswith(words)
