"""A warm start from another study."""

import copy
from dataclasses import replace

import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from recording import add_runs, open_reranking

from search.runs.standings import trials_to_rerank
from search.runs.starting import find_warm_start
from search.studies.opening import open_search_study
from search.studies.optuna_private import fixed_params
from search.studies.plan import DrawnPlan
from search.studies.study import Binding, StoredStudy, StudyError
from search.studies.tickets import claim_trial
from space import REFERENCE


def test_another_studys_leading_trials_are_found_but_for_its_first(
    search_study: StoredStudy, sample_binding: Binding
) -> None:
    found = find_warm_start(search_study.storage, "small", "larger", replace(sample_binding, max_params=3_000))
    assert found is not None
    assert (found.study_name, found.params) == ("small", (search_study.trials()[2].params,))


def test_reranked_trials_come_in_the_order_of_their_means(search_study: StoredStudy, sample_binding: Binding) -> None:
    trials = search_study.trials()
    search_study.study.add_trial(scored(trials[2], 98.2))  # behind trial 2 as searched, ahead once re-ranked
    planned = trials_to_rerank(search_study, 2)
    reranking = open_reranking(search_study, 2)
    for trial in planned:
        add_runs(reranking, trial, *[98.0 + (trial.number == 5)] * 2)
    found = find_warm_start(search_study.storage, "small", "larger", sample_binding)
    assert found is not None
    assert found.params == (search_study.trials()[5].params, trials[2].params)


def scored(trial: FrozenTrial, value: float) -> FrozenTrial:
    """Another trial like that one, of another learning rate."""
    other = copy.deepcopy(trial)
    other.value = value
    other.params = {**trial.params, "lr": 0.03}
    other.user_attrs["ticket"] = 5
    return other


def test_a_new_study_tries_them_after_its_first_trial_whatever_its_budget(
    search_study: StoredStudy, sample_binding: Binding
) -> None:
    binding = replace(sample_binding, max_params=3_000)
    warm_start = find_warm_start(search_study.storage, "small", "larger", binding)
    larger = open_search_study(search_study.storage, "larger", binding, REFERENCE, warm_start)
    plan = DrawnPlan(num_trials=3, sampler_name="random", seed=0)
    for _ in plan.keys:
        claim_trial(larger, plan)
    queued = [fixed_params(trial) for trial in larger.trials()]
    assert queued == [REFERENCE, search_study.trials()[2].params, None]
    assert larger.facts.warm_start == "small"
    # What it was begun with stands, also where the other study is gone.
    assert find_warm_start(search_study.storage, "small", "larger", binding) is None
    with pytest.raises(StudyError, match="was begun without a warm start from 'tiny'"):
        find_warm_start(search_study.storage, "tiny", "larger", binding)


@pytest.mark.parametrize(
    ("source", "changes", "words"),
    [
        ("new", {}, "--warm-start new is this study itself"),
        ("none such", {}, "There is no search study 'none such' in this storage"),
        ("small", {"dataset": "mnist"}, "has another data set than this one"),
        ("small", {"split": "ffff"}, "has another data set than this one"),
        ("small", {"space": "ffff"}, "has another search space"),
        ("small", {"recipe": 1}, "has another network or training recipe"),
        ("empty", {}, "has no complete trial yet"),
    ],
)
def test_a_study_that_means_something_else_here_is_refused(
    source: str, changes: dict[str, object], words: str, search_study: StoredStudy, sample_binding: Binding
) -> None:
    open_search_study(search_study.storage, "empty", sample_binding, REFERENCE)
    with pytest.raises(StudyError, match=words):
        find_warm_start(search_study.storage, source, "new", replace(sample_binding, **changes))


def test_a_storage_without_studies_is_told(storage: RDBStorage, sample_binding: Binding) -> None:
    with pytest.raises(StudyError, match="There is no search study 'small' in this storage"):
        find_warm_start(storage, "small", "new", sample_binding)
