"""Which trial wins, and its configuration, rebuilt from what it has drawn. How one is chosen: `test_proving.py`."""

from dataclasses import replace

import pytest
from recording import add_runs, open_reranking

import space
from search.config import RECIPE
from search.runs.standings import leading_trials, read_ranking
from search.runs.winner import find_winner, rebuild_config
from search.studies.facts import StudyFacts, TrialFacts
from search.studies.space import Space
from search.studies.study import StoredStudy, StudyError


def winner_of(search: StoredStudy) -> int | None:
    winner = find_winner(search, read_ranking(search))
    return winner.number if winner is not None else None


def test_the_winner_is_the_best_single_run_where_no_reranking_was_asked_for(search_study: StoredStudy) -> None:
    StudyFacts(num_reranked=0).write(search_study.study)
    assert winner_of(search_study) == 2


def test_there_is_no_winner_before_the_reranking_that_was_asked_for(search_study: StoredStudy) -> None:
    StudyFacts(num_reranked=2).write(search_study.study)
    assert winner_of(search_study) is None
    first, second = leading_trials(search_study, 2)
    reranking = open_reranking(search_study, 2)
    add_runs(reranking, first, 98.0, 98.0)
    assert winner_of(search_study) is None
    add_runs(reranking, second, 98.5, 98.5)
    assert winner_of(search_study) == second.number == 0


def test_a_finished_reranking_decides_even_if_the_last_search_asked_for_none(search_study: StoredStudy) -> None:
    first, second = leading_trials(search_study, 2)
    reranking = open_reranking(search_study, 2)
    add_runs(reranking, first, 98.0, 98.0)
    StudyFacts(num_reranked=0).write(search_study.study)
    assert winner_of(search_study) == first.number == 2  # unfinished, and waived
    add_runs(reranking, second, 98.5, 98.5)
    assert winner_of(search_study) == second.number


def test_the_winner_is_rebuilt_from_its_recorded_draws(search_study: StoredStudy, the_space: Space) -> None:
    for number in (0, 2):
        trial = search_study.trials()[number]
        facts = TrialFacts.of(trial)
        config = rebuild_config(search_study, trial, the_space)
        assert config.model.channels == facts.channels
        assert config.model.num_params == facts.num_params
        assert config.model.num_params <= 1_999
        assert (config.lr, config.model.dropout) == (trial.params["lr"], trial.params["dropout"])


def test_a_winner_of_an_edited_space_is_not_rebuilt(search_study: StoredStudy, the_space: Space) -> None:
    StudyFacts(space="another", space_file="narrow.py").write(search_study.study)
    with pytest.raises(StudyError, match=r"space\.py is not .* that study 'small' was made with \(narrow\.py, at "):
        rebuild_config(search_study, search_study.trials()[2], the_space)


def test_a_winner_of_another_recipe_is_not_rebuilt(search_study: StoredStudy, the_space: Space) -> None:
    StudyFacts(recipe=1).write(search_study.study)
    with pytest.raises(StudyError, match=rf"another version of this tool \(at .*; recipe 1, now {RECIPE}\)"):
        rebuild_config(search_study, search_study.trials()[2], the_space)


def test_a_winner_that_comes_out_different_is_refused(search_study: StoredStudy, the_space: Space) -> None:
    other = replace(the_space, suggest_config=lambda trial, _: space.suggest_config(trial, 3_000))
    with pytest.raises(StudyError, match="Trial 2 rebuilt has"):
        rebuild_config(search_study, search_study.trials()[2], other)
