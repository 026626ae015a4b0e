"""The answers of a proof's networks, one by one."""

import json

import pytest
from evidence import FOUR, make_answers
from pydantic import ValidationError

from search.proof.answers import Answers, Bin, HardDigit, Miss


def test_the_confusion_counts_labels_by_answers_over_all_seeds() -> None:
    answers = make_answers((FOUR, FOUR.model_copy(update={"place": 8})), (FOUR,))
    assert answers.confusion[4] == (0, 0, 0, 0, 197, 0, 0, 0, 0, 3)
    assert all(sum(row) == 200 for row in answers.confusion)
    assert answers.confusion[0][0] == 200


def test_the_hardest_digits_are_those_that_most_networks_miss() -> None:
    other = Miss(place=2, label=1, answer=7, probability=0.5, of_label=0.25)
    as_seven = FOUR.model_copy(update={"answer": 7, "probability": 0.5})
    surer = FOUR.model_copy(update={"probability": 0.95})
    answers = make_answers((other, FOUR), (as_seven,), (surer,))
    assert answers.hardest(1) == [
        HardDigit(place=7, label=4, num_missed=3, answer=9, probability=0.85, of_label=FOUR.of_label)
    ]
    assert [digit.place for digit in answers.hardest(5)] == [7, 2]


def test_of_digits_that_as_many_miss_the_surest_mistakes_come_first() -> None:
    doubtful = Miss(place=2, label=1, answer=7, probability=0.5, of_label=0.25)
    assert [digit.place for digit in make_answers((doubtful, FOUR)).hardest(2)] == [FOUR.place, 2]


def test_the_calibration_error_is_the_mean_gap_between_what_is_said_and_what_is_right() -> None:
    answers = make_answers((FOUR,), ())
    assert [each.num for each in answers.bins] == [1, 1999]
    assert answers.calibration_error == pytest.approx((1 * 0.75 + 1999 * 0.01) / 2000)
    assert make_answers().calibration_error is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_by_label": [101] * 10}, "do not hold 1010 answers"),
        ({"num_by_label": [500] * 2}, "not as many labels as classes"),
        ({"edges": [0.9, 0.5]}, "edges are not in order"),
        ({"num_by_label": [0] * 10}, "not different ones of 0 images"),
        ({"edges": [0.5, 0.9]}, "do not hold 1000 answers"),
        ({"seeds": [{"seed": 1, "misses": [], "bins": make_answers((FOUR,)).seeds[0].bins}]}, "bins hold other misses"),
        ({"seeds": [{"seed": 1, "misses": [], "bins": [Bin(num=0, num_right=0, probability=0)]}]}, "do not hold"),
    ],
)
def test_answers_that_contradict_themselves_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Answers.model_validate({**dict(make_answers((FOUR,))), **change})


def test_a_digit_is_missed_once_by_a_network() -> None:
    with pytest.raises(ValidationError, match="not different ones"):
        make_answers((FOUR, FOUR))


def test_a_right_answer_is_no_miss() -> None:
    with pytest.raises(ValidationError, match="the answer is right"):
        Miss(place=7, label=4, answer=4, probability=0.75, of_label=0.75)


def test_more_right_answers_than_answers_are_refused() -> None:
    with pytest.raises(ValidationError, match="more answers are right"):
        Bin(num=1, num_right=2, probability=0.5)


def test_the_file_is_one_line() -> None:
    text = make_answers((FOUR,), ()).to_json()
    assert text.count("\n") == 1
    assert json.loads(text)["confusion"][4][9] == 1
