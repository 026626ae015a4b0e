"""Re-ranking: further runs of the leading trials decide who wins."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from recording import add_runs

import space
from search import rerank
from search.config import AugmentConfig, ModelConfig, TrialConfig
from search.data import Split, fingerprint
from search.provenance import space_hash
from search.rerank import Candidate, RerankJob
from search.study import StudyError
from search.tickets import claim_trial, tickets_left
from search.train import Runtime

TINY = TrialConfig(
    model=ModelConfig(channels=((2,), (3,), (4,))), augment=AugmentConfig(), lr=0.02, weight_decay=0.01, batch_size=64
)


@pytest.fixture
def reranking(searched_storage: RDBStorage, search_study: optuna.Study) -> optuna.Study:
    return rerank.open_rerank_study(searched_storage, search_study, rerank.leading_trials(search_study, 2))


def test_the_leading_trials_are_the_best_complete_ones_best_first(search_study: optuna.Study) -> None:
    assert [trial.number for trial in rerank.leading_trials(search_study, 1)] == [2]
    assert [trial.number for trial in rerank.leading_trials(search_study, 2)] == [2, 0]
    assert [trial.number for trial in rerank.leading_trials(search_study, 9)] == [2, 0]  # all that there are


def test_every_leading_trial_runs_once_before_any_runs_again(search_study: optuna.Study) -> None:
    tickets = rerank.tickets_of(rerank.leading_trials(search_study, 2))
    assert [divmod(ticket, rerank.NUM_RUNS) for ticket in tickets] == [(2, 0), (0, 0), (2, 1), (0, 1)]


def test_a_search_is_reranked_in_a_study_of_its_own(reranking: optuna.Study) -> None:
    assert reranking.study_name == "small-rerank"
    assert (reranking.user_attrs["kind"], reranking.user_attrs["search_study"]) == ("rerank", "small")


def test_further_runs_alone_decide_and_the_searched_one_does_not_count(
    search_study: optuna.Study, reranking: optuna.Study
) -> None:
    first, second = rerank.leading_trials(search_study, 2)
    add_runs(reranking, first, 98.0, 98.2)
    add_runs(reranking, second, 98.1, 98.2)  # searched: 0.5 less than the first
    ranking = rerank.rank_again(search_study, reranking)
    assert [(standing.trial.number, standing.mean) for standing in ranking] == [
        (second.number, pytest.approx(98.15)),
        (first.number, pytest.approx(98.1)),
    ]


def test_equal_means_are_ranked_as_the_search_did(search_study: optuna.Study, reranking: optuna.Study) -> None:
    first, second = rerank.leading_trials(search_study, 2)
    add_runs(reranking, second, 98.0, 98.2)
    add_runs(reranking, first, 98.2, 98.0)
    assert [standing.trial.number for standing in rerank.rank_again(search_study, reranking)] == [2, 0]


def test_a_trial_without_all_its_runs_has_no_standing(search_study: optuna.Study, reranking: optuna.Study) -> None:
    first, second = rerank.leading_trials(search_study, 2)
    add_runs(reranking, first, 99.0)
    add_runs(reranking, second, 98.0, 98.0)
    assert [standing.trial.number for standing in rerank.rank_again(search_study, reranking)] == [second.number]


@pytest.mark.parametrize("changed", [{"params": {"lr": 0.5}}, {"number": 77}], ids=["other params", "no such trial"])
def test_runs_of_another_search_of_the_same_name_are_refused(
    search_study: optuna.Study, reranking: optuna.Study, changed: dict[str, object]
) -> None:
    other = copy.deepcopy(rerank.leading_trials(search_study, 1)[0])  # the study's own is cached
    if "params" in changed:
        other.params = {**other.params, "lr": 0.5}
    else:
        other.number = 77
    add_runs(reranking, other, 98.0, 98.0)
    with pytest.raises(StudyError, match="'small-rerank' re-ranked another search of this name"):
        rerank.rank_again(search_study, reranking)


def test_a_search_that_was_not_reranked_has_no_standings(
    search_study: optuna.Study, searched_storage: RDBStorage
) -> None:
    assert rerank.find_ranking(search_study, searched_storage) is None
    assert rerank.describe(None) is None


def test_a_search_called_like_a_reranking_is_none(search_study: optuna.Study, searched_storage: RDBStorage) -> None:
    optuna.create_study(storage=searched_storage, study_name="small-rerank").set_user_attr("kind", "search")
    assert rerank.find_ranking(search_study, searched_storage) is None


def test_a_reranking_is_finished_when_all_that_was_planned_is_there(
    search_study: optuna.Study, searched_storage: RDBStorage, reranking: optuna.Study
) -> None:
    def finished() -> bool:
        ranking = rerank.find_ranking(search_study, searched_storage)
        assert ranking is not None
        return ranking.finished

    first, second = rerank.leading_trials(search_study, 2)
    assert not finished()
    add_runs(reranking, first, 98.0, 98.0)
    assert not finished()
    add_runs(reranking, second, 98.1, 98.1)
    assert finished()


def test_a_reranking_of_a_search_that_was_bound_to_something_else_is_refused(
    search_study: optuna.Study, searched_storage: RDBStorage, reranking: optuna.Study
) -> None:
    reranking.set_user_attr("space", "0123")
    with pytest.raises(StudyError, match="'small-rerank' re-ranked another search of this name"):
        rerank.find_ranking(search_study, searched_storage)


def test_a_trial_that_has_come_to_lead_since_makes_a_reranking_unfinished(
    search_study: optuna.Study, searched_storage: RDBStorage, reranking: optuna.Study
) -> None:
    for trial in rerank.leading_trials(search_study, 2):
        add_runs(reranking, trial, 98.0, 98.0)
    ranking = rerank.find_ranking(search_study, searched_storage)
    assert ranking is not None
    assert ranking.finished
    better = copy.deepcopy(rerank.leading_trials(search_study, 1)[0])
    better.value = 99.0
    search_study.add_trial(better)
    ranking = rerank.find_ranking(search_study, searched_storage)
    facts = rerank.describe(ranking)
    assert facts is not None
    assert (facts["finished"], facts["winner"], facts["regression"]) == (False, None, None)
    assert len(facts["standings"]) == 2


def test_the_regression_is_what_the_first_ranked_trial_had_looked_too_good_by(
    search_study: optuna.Study, searched_storage: RDBStorage, reranking: optuna.Study
) -> None:
    first, second = rerank.leading_trials(search_study, 2)
    add_runs(reranking, first, 98.1, 98.3)
    add_runs(reranking, second, 98.4, 98.4)
    facts = rerank.describe(rerank.find_ranking(search_study, searched_storage))
    assert facts is not None
    assert facts["winner"] == second.number
    assert facts["regression"] == pytest.approx(98.5 - 98.2)
    assert [each["number"] for each in facts["standings"]] == [second.number, first.number]
    assert facts["standings"][1]["val_accuracies"] == [98.1, 98.3]


def test_the_candidates_are_rebuilt_from_their_recorded_draws(search_study: optuna.Study) -> None:
    leading = rerank.leading_trials(search_study, 2)
    built = rerank.candidates(search_study, leading, space.suggest_config, space_hash(Path(space.__file__)))
    assert built.keys() == {2, 0}
    for trial in leading:
        channels = [list(stage) for stage in built[trial.number].config.model.channels]
        assert channels == trial.user_attrs["channels"]
        assert built[trial.number].seed == trial.user_attrs["seed"]


@pytest.fixture
def job(storage_url: str, tmp_path: Path) -> RerankJob:
    return RerankJob(
        storage_url=storage_url,
        study_name="small-rerank",
        tickets=(4, 5),
        candidates={2: Candidate(config=TINY, seed=7, params={"lr": 0.02})},
        max_params=7_999,
        epochs=2,
        dataset="sample",
        data_dir=tmp_path,
        precision="fp32",
        commit="0123abc",
        deadline=None,
    )


@pytest.mark.full
@pytest.mark.usefixtures("no_mirror")
def test_further_runs_measure_on_the_searchs_digits_where_no_test_digits_are(
    job: RerankJob, training_files: Path
) -> None:
    (training, validation), _ = replace(job, dataset="mnist", data_dir=training_files).prepare("cpu")
    summary = Path(space.__file__).parent / "results" / "reference" / "summary.json"
    assert fingerprint(training, validation) == json.loads(summary.read_text())["settings"]["split"]
    assert (len(training), len(validation)) == (50_000, 10_000)


@pytest.fixture
def run_next(
    reranking: optuna.Study, searched_storage: RDBStorage, few_digits: Split, cpu: Runtime
) -> Callable[..., FrozenTrial]:
    def run(job: RerankJob, *, should_stop: Callable[[], bool] = lambda: False) -> FrozenTrial:
        trial = claim_trial(
            reranking,
            searched_storage,
            job.tickets,
            sampler=job.sampler,
            seed=job.seed,
            fixed_params=job.fixed_params(),
        )
        assert trial is not None
        resources = (few_digits, few_digits.select(torch.arange(100))), cpu
        job.run(reranking, trial, searched_storage, resources, should_stop)
        return reranking.trials[trial.number]

    return run


def test_each_run_has_a_seed_of_its_own_and_records_what_it_was(
    job: RerankJob, run_next: Callable[..., FrozenTrial]
) -> None:
    first, second = run_next(job), run_next(job)
    assert [(run.params["trial"], run.params["run"]) for run in (first, second)] == [(2, 0), (2, 1)]
    assert len({first.user_attrs["seed"], second.user_attrs["seed"], 7}) == 3
    assert first.intermediate_values != second.intermediate_values
    assert first.user_attrs["num_params"] == TINY.model.num_params
    assert first.user_attrs["searched_params"] == {"lr": 0.02}


def test_an_interrupted_run_is_tried_again_and_comes_to_the_same(
    job: RerankJob, reranking: optuna.Study, run_next: Callable[..., FrozenTrial]
) -> None:
    cut_off = run_next(job, should_stop=lambda: True)
    assert cut_off.state == TrialState.FAIL
    assert tickets_left(reranking, job.tickets) == [4, 5]
    again = run_next(job)
    assert again.params == cut_off.params
    assert again.intermediate_values[1] == cut_off.intermediate_values[1]


def test_a_run_that_diverges_counts_as_the_worst(job: RerankJob, run_next: Callable[..., FrozenTrial]) -> None:
    diverging = Candidate(config=replace(TINY, lr=1e38), seed=7, params={"lr": 0.02})
    trial = run_next(replace(job, candidates={2: diverging}))
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.0)


def test_the_deadline_is_that_of_the_search(job: RerankJob) -> None:
    assert not job.expired()
    assert replace(job, deadline=0.0).expired()
