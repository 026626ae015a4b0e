"""A reproduction in words."""

import pytest
from evidence import make_reproduction

from search.config import RECIPE
from search.show.reproduction import VERDICTS, agreement


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


def test_seeds_that_should_repeat_and_do_not_are_no_matter_of_course() -> None:
    for changes, told in (
        ({"recipe": RECIPE}, "Not identical, though on CPUs in fp32 every seed should repeat"),
        ({"recipe": RECIPE, "precision": "bf16"}, "Not identical, as is to be expected of another device"),
        ({"recipe": RECIPE - 1}, "Not identical, as is to be expected of another device"),
    ):
        [line, *_] = agreement(make_reproduction(identical=False, within_spread=None, **changes))
        assert line.startswith(told)


def test_a_model_that_errs_otherwise_than_recorded_is_told() -> None:
    same = make_reproduction(model_errors=60, recorded_model_errors=60, model_agrees=True)
    assert agreement(same)[0] == "The recorded model makes 60 errors, as recorded."
    other = make_reproduction(model_errors=51, recorded_model_errors=50, model_agrees=False)
    assert agreement(other)[0] == "The recorded model makes 51 errors, not as recorded (50)."


def test_runs_of_an_earlier_command_are_told() -> None:
    line = agreement(make_reproduction(num_earlier=1))[0]
    assert line == "Trained by an earlier command with this storage, and not again: 1 of 2."


def test_seeds_that_miss_the_target_of_the_proof_are_told_though_they_agree() -> None:
    assert not any("miss" in line for line in agreement(make_reproduction()))
    row = {"seed": 20_002, "test_accuracy": 99.39, "errors": 61, "errors_one_view": 70, "recorded_errors": 61}
    found = make_reproduction(seeds=[*make_reproduction().seeds, row], identical=True)
    assert (
        "1 of 3 seeds miss the proof's 99.4 %: that is on record here, and no verdict on this configuration passes "
        "over it."
    ) in agreement(found)


def test_a_reproduction_names_what_it_and_the_record_were_made_with() -> None:
    *_, recorded, repeated = agreement(make_reproduction())
    assert recorded == "Recorded: cpu in fp32, torch 2.14.1, commit 0123abc4567def89."
    assert repeated == "Repeated: cpu in fp32, torch 2.14.1, commit 0123abc."


@pytest.mark.parametrize(("reproduced", "words"), [(True, "REPR"), (False, "NOT REPR"), (None, "NOT JUDGED")])
def test_the_verdict_comes_first_in_capitals(reproduced: bool | None, words: str) -> None:
    assert VERDICTS[reproduced].startswith(words)


def test_seeds_that_miss_the_proofs_target_are_told_where_it_can_be_judged() -> None:
    row = {"seed": 20_000, "test_accuracy": 99.39, "errors": 61, "errors_one_view": 70, "recorded_errors": None}
    told = "1 of 1 seeds miss the proof's 99.4 %: that is on record here"
    assert any(line.startswith(told) for line in agreement(make_reproduction(seeds=[row])))
    assert not any("miss" in line for line in agreement(make_reproduction(seeds=[row], judged=False)))
