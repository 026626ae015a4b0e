"""How the leading trials of a search stand after their further runs."""

import copy

import optuna
import pytest
from recording import add_runs, open_reranking

from search.runs.standings import (
    NUM_RUNS,
    Ranking,
    Standing,
    first_trial,
    leading_trials,
    read_ranking,
    trials_to_rerank,
)
from search.studies.facts import StudyFacts
from search.studies.kinds import Kind
from search.studies.study import StoredStudy, StudyError


@pytest.fixture
def reranking(search_study: StoredStudy) -> StoredStudy:
    """The re-ranking of both complete trials; still empty."""
    return open_reranking(search_study, 2)


def ranking_of(search: StoredStudy) -> Ranking:
    ranking = read_ranking(search)
    assert ranking is not None
    return ranking


def test_the_leading_trials_are_the_best_complete_ones_best_first(search_study: StoredStudy) -> None:
    assert [trial.number for trial in leading_trials(search_study, 1)] == [2]
    assert [trial.number for trial in leading_trials(search_study, 2)] == [2, 0]
    assert [trial.number for trial in leading_trials(search_study, 9)] == [2, 0]  # all that there are


def test_further_runs_alone_decide_and_the_searched_one_does_not_count(
    search_study: StoredStudy, reranking: StoredStudy
) -> None:
    first, second = leading_trials(search_study, 2)
    add_runs(reranking, first, 98.0, 98.2)
    add_runs(reranking, second, 98.1, 98.2)  # searched: 0.5 less than the first
    ranking = ranking_of(search_study).standings
    assert [(standing.trial.number, standing.mean) for standing in ranking] == [
        (second.number, pytest.approx(98.15)),
        (first.number, pytest.approx(98.1)),
    ]


def test_equal_means_are_ranked_as_the_search_did(search_study: StoredStudy, reranking: StoredStudy) -> None:
    first, second = leading_trials(search_study, 2)
    add_runs(reranking, second, 98.0, 98.2)
    add_runs(reranking, first, 98.2, 98.0)
    assert [standing.trial.number for standing in ranking_of(search_study).standings] == [2, 0]


def test_a_trial_without_all_its_runs_has_no_standing(search_study: StoredStudy, reranking: StoredStudy) -> None:
    first, second = leading_trials(search_study, 2)
    add_runs(reranking, first, 99.0)
    add_runs(reranking, second, 98.0, 98.0)
    [standing] = ranking_of(search_study).standings
    assert standing.trial.number == second.number
    assert len(standing.accuracies) == NUM_RUNS


@pytest.mark.parametrize("changed", [{"params": {"lr": 0.5}}, {"number": 77}], ids=["other params", "no such trial"])
def test_runs_of_another_search_of_the_same_name_are_refused(
    search_study: StoredStudy, reranking: StoredStudy, changed: dict[str, object]
) -> None:
    other = copy.deepcopy(leading_trials(search_study, 1)[0])  # the study's own is cached
    if "params" in changed:
        other.params = {**other.params, "lr": 0.5}
    else:
        other.number = 77
    add_runs(reranking, other, 98.0, 98.0)
    complaint = r"'small-rerank' re-ranked another search of this name\. Delete both with 'python cli\.py delete small'"
    with pytest.raises(StudyError, match=complaint):
        read_ranking(search_study)


def test_a_search_that_was_not_reranked_has_no_ranking(search_study: StoredStudy) -> None:
    assert read_ranking(search_study) is None


def test_a_search_called_like_a_reranking_is_none(search_study: StoredStudy) -> None:
    called_so = optuna.create_study(storage=search_study.storage, study_name="small-rerank")
    StudyFacts(kind=Kind.SEARCH).write(called_so)
    assert read_ranking(search_study) is None


def test_a_reranking_is_finished_when_all_that_was_planned_is_there(
    search_study: StoredStudy, reranking: StoredStudy
) -> None:
    first, second = leading_trials(search_study, 2)
    assert not ranking_of(search_study).finished
    add_runs(reranking, first, 98.0, 98.0)
    assert not ranking_of(search_study).finished
    assert ranking_of(search_study).winner is None
    add_runs(reranking, second, 98.1, 98.1)
    ranking = ranking_of(search_study)
    assert ranking.finished
    assert ranking.winner is not None
    assert ranking.winner.trial.number == second.number


def test_a_reranking_that_plans_nothing_is_not_finished(search_study: StoredStudy) -> None:
    open_reranking(search_study, 0)  # cut off before it was planned
    assert not ranking_of(search_study).finished


def test_a_reranking_of_a_search_that_was_bound_to_something_else_is_refused(
    search_study: StoredStudy, reranking: StoredStudy
) -> None:
    StudyFacts(space="0123").write(reranking.study)
    with pytest.raises(StudyError, match="'small-rerank' re-ranked another search of this name"):
        read_ranking(search_study)


def test_a_trial_that_has_come_to_lead_since_makes_a_reranking_unfinished(
    search_study: StoredStudy, reranking: StoredStudy
) -> None:
    for trial in leading_trials(search_study, 2):
        add_runs(reranking, trial, 98.0, 98.0)
    assert ranking_of(search_study).finished
    better = copy.deepcopy(leading_trials(search_study, 1)[0])
    better.value = 99.0
    search_study.study.add_trial(better)
    ranking = ranking_of(search_study)
    described = ranking.describe()
    assert ranking.winner is None
    assert (described.finished, described.winner, described.regression) == (False, None, None)
    assert len(described.standings) == 2


def test_the_regression_is_what_the_first_ranked_trial_had_looked_too_good_by(
    search_study: StoredStudy, reranking: StoredStudy
) -> None:
    first, second = leading_trials(search_study, 2)
    add_runs(reranking, first, 98.1, 98.3)
    add_runs(reranking, second, 98.4, 98.4)
    described = ranking_of(search_study).describe()
    assert described.winner == second.number
    assert described.regression == pytest.approx(98.5 - 98.2)
    assert [standing.number for standing in described.standings] == [second.number, first.number]
    of_first = described.standings[1]
    assert (of_first.val_accuracies, of_first.searched_val_accuracy) == ((98.1, 98.3), 98.5)
    assert of_first.mean == pytest.approx(98.2)


def test_a_further_run_that_is_not_complete_does_not_count(search_study: StoredStudy, reranking: StoredStudy) -> None:
    first, _ = leading_trials(search_study, 2)
    add_runs(reranking, first, 98.0)
    reranking.study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    reranking.study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING))
    assert ranking_of(search_study).standings == ()


# The first trial, ties, and what was earned


def test_the_first_trial_is_reranked_wherever_it_stands(search_study: StoredStudy) -> None:
    first = first_trial(search_study)
    assert first is not None
    assert first.number == 0
    assert [trial.number for trial in trials_to_rerank(search_study, 1)] == [2, 0]
    assert [trial.number for trial in trials_to_rerank(search_study, 2)] == [2, 0]


def test_a_reranking_of_the_leader_and_the_first_trial_is_finished_with_both(search_study: StoredStudy) -> None:
    reranking = open_reranking(search_study, 1)
    for trial in trials_to_rerank(search_study, 1):
        assert not ranking_of(search_study).finished
        add_runs(reranking, trial, 98.0, 98.2)
    assert ranking_of(search_study).finished


def test_trials_that_cannot_be_told_from_the_best_tie_with_it(search_study: StoredStudy) -> None:
    reranking = open_reranking(search_study, 1)
    first, second = leading_trials(search_study, 2)
    add_runs(reranking, first, 98.0, 98.5)
    add_runs(reranking, second, 98.2, 98.1)
    described = ranking_of(search_study).describe()
    assert described.winner == first.number
    assert described.tied == (first.number, second.number)
    # Residuals of +-0.15 with one degree of freedom: Student's t is 12.706.
    assert described.margin == pytest.approx(12.706 * (4 * 0.15**2) ** 0.5, rel=1e-4)


def test_a_lead_beyond_the_margin_is_no_tie(search_study: StoredStudy) -> None:
    reranking = open_reranking(search_study, 1)
    first, second = leading_trials(search_study, 2)
    add_runs(reranking, first, 98.0, 98.5)
    add_runs(reranking, second, 97.0, 97.501)
    described = ranking_of(search_study).describe()
    assert described.tied == (first.number,)


@pytest.mark.parametrize(("num_params", "winner"), [(1_899, 0), (1_902, 2)], ids=["five per cent", "less"])
def test_of_those_that_tie_a_clearly_smaller_one_wins(
    num_params: int, winner: int, search_study: StoredStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranking = open_reranking(search_study, 1)
    first, second = leading_trials(search_study, 2)
    add_runs(reranking, first, 98.0, 98.5)
    add_runs(reranking, second, 98.2, 98.1)
    sizes = {first.number: 2_000, second.number: num_params}
    monkeypatch.setattr(Standing, "num_params", property(lambda standing: sizes[standing.trial.number]))
    assert ranking_of(search_study).describe().winner == winner


def test_what_was_earned_is_told_by_runs_that_chose_nothing_in_pairs(search_study: StoredStudy) -> None:
    reranking = open_reranking(search_study, 1)
    first, second = leading_trials(search_study, 2)
    add_runs(reranking, first, 98.4, 98.5, 98.3, 98.2, 98.4)
    add_runs(reranking, second, 98.2, 98.1, 98.2, 98.2)  # the last pair is not there yet
    earned = ranking_of(search_study).earned
    assert earned is not None
    assert (earned.first, earned.winner_val_accuracies, earned.first_val_accuracies) == (0, (98.3, 98.2), (98.2, 98.2))
    assert earned.mean == pytest.approx(0.05)
    assert earned.margin == pytest.approx(12.706 * 0.05, rel=1e-4)  # of 0.1 and 0.0


def test_a_first_trial_that_wins_has_earned_nothing(search_study: StoredStudy) -> None:
    reranking = open_reranking(search_study, 1)
    first, second = leading_trials(search_study, 2)
    add_runs(reranking, first, 98.0, 98.1, 98.0)
    add_runs(reranking, second, 98.5, 98.6, 98.5)
    ranking = ranking_of(search_study)
    assert ranking.winner is not None
    assert ranking.winner.trial.number == 0
    earned = ranking.earned
    assert earned is not None
    assert earned.winner_val_accuracies == earned.first_val_accuracies == (98.5,)
    assert (earned.mean, earned.margin, ranking.describe().first) == (0.0, None, 0)
