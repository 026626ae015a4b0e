"""Re-ranking: further runs of the leading trials."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import get_note
from recording import add_runs, open_reranking
from tiny import CHANNELS, FIRST, Listener
from training import EPOCHS, after_an_epoch, work_off

import space
from search.config import AugmentConfig, ModelConfig, TrialConfig, derive_seed
from search.net.data import fingerprint
from search.net.model_file import load_model
from search.net.model_origin import read_origin
from search.proof.summaries import ModelOrigin
from search.provenance import Code
from search.runs.models import model_path
from search.runs.reranking import run_comparison, run_reranking, runs_of
from search.runs.session import Session
from search.runs.standings import NUM_RUNS, leading_trials, read_ranking
from search.runs.tasks import Candidate, RerankTask
from search.runs.validating import Validation, ValidationResources
from search.settings import SearchSettings
from search.studies.facts import TrialFacts
from search.studies.job import Job
from search.studies.kinds import Kind
from search.studies.opening import open_search_study
from search.studies.space import Space
from search.studies.study import Binding, StoredStudy
from search.studies.tickets import keys_left

TINY = TrialConfig(
    model=ModelConfig(channels=CHANNELS), augment=AugmentConfig(), lr=0.02, weight_decay=0.01, batch_size=64
)
CANDIDATE = Candidate(config=TINY, params=FIRST)


@pytest.fixture
def reranking(search_study: StoredStudy) -> StoredStudy:
    """The re-ranking of both complete trials; still empty."""
    return open_reranking(search_study, 2)


def test_every_leading_trial_runs_once_before_any_runs_again(search_study: StoredStudy) -> None:
    runs = runs_of(leading_trials(search_study, 2)).runs
    assert [(run["trial"], run["run"]) for run in runs] == [(2, 0), (0, 0), (2, 1), (0, 1)]


def test_a_search_is_reranked_in_a_study_of_its_own(search_study: StoredStudy, reranking: StoredStudy) -> None:
    facts = reranking.facts
    assert reranking.name == "small-rerank"
    assert (reranking.kind, facts.search_study, facts.planned_trials) == (Kind.RERANK, "small", (2, 0))
    assert reranking.binding == search_study.binding
    assert facts.num_reranked == 2
    assert open_reranking(search_study, 1).facts.num_reranked == 1


# A run


@pytest.fixture
def task(tmp_path: Path) -> RerankTask:
    """Runs trial 2 again, as if it had drawn `TINY`."""
    validation = Validation(dataset="sample", data_dir=tmp_path, precision="fp32", max_params=7_999, epochs=EPOCHS)
    return RerankTask(validation=validation, candidates={2: CANDIDATE}, search_name="small", folder=tmp_path / "small")


@pytest.fixture
def run(
    search_study: StoredStudy, reranking: StoredStudy, few_to_validate: ValidationResources, code: Code
) -> Callable[..., list[FrozenTrial]]:
    """Works off what is left of trial 2's further runs."""
    plan = runs_of(leading_trials(search_study, 1))

    def run(task: RerankTask, **options: Any) -> list[FrozenTrial]:
        return work_off(reranking, plan, task, few_to_validate, code, **options)

    return run


def test_each_run_has_a_seed_of_its_own_and_records_what_it_was(
    task: RerankTask, run: Callable[..., list[FrozenTrial]]
) -> None:
    first, second = run(task)
    assert [(trial.params["trial"], trial.params["run"]) for trial in (first, second)] == [(2, 0), (2, 1)]
    seeds = [TrialFacts.of(trial).seed for trial in (first, second)]
    assert seeds == [derive_seed("small", "rerank", 0), derive_seed("small", "rerank", 1)]  # whichever trial it is
    assert first.intermediate_values != second.intermediate_values
    facts = TrialFacts.of(first)
    assert (facts.num_params, facts.channels) == (TINY.model.num_params, CHANNELS)
    assert facts.searched_params == FIRST


def test_the_first_runs_model_is_kept_and_says_what_it_is(
    task: RerankTask, run: Callable[..., list[FrozenTrial]], code: Code
) -> None:
    first, second = run(task)
    path = model_path(task.folder, 2)
    assert [each.name for each in path.parent.iterdir()] == ["trial-2.safetensors"]
    origin = ModelOrigin.model_validate_json(read_origin(path))
    assert (origin.study_name, origin.trial, origin.val_accuracy) == ("small", 2, first.value)
    assert origin.seed == TrialFacts.of(first).seed != TrialFacts.of(second).seed
    assert (origin.epochs, origin.dataset, origin.precision) == (EPOCHS, "sample", "fp32")
    assert (origin.config, origin.num_params, origin.commit) == (TINY, TINY.model.num_params, code.commit)
    assert load_model(path) is not None


def test_an_interrupted_run_is_tried_again_and_comes_to_the_same(
    task: RerankTask, reranking: StoredStudy, search_study: StoredStudy, run: Callable[..., list[FrozenTrial]]
) -> None:
    [cut_off] = run(task, should_stop=after_an_epoch())
    assert cut_off.state == TrialState.FAIL
    assert TrialFacts.of(cut_off).fail_reason is None
    assert not model_path(task.folder, 2).exists()
    plan = runs_of(leading_trials(search_study, 1))
    assert keys_left(reranking, plan) == list(plan.keys)
    again, _ = run(task)
    assert again.params == cut_off.params
    assert again.intermediate_values[1] == cut_off.intermediate_values[1]


def test_a_run_that_diverges_counts_as_the_worst(task: RerankTask, run: Callable[..., list[FrozenTrial]]) -> None:
    diverging = replace(CANDIDATE, config=replace(TINY, lr=1e38))
    trials = run(replace(task, candidates={2: diverging}))
    assert [(trial.state, trial.value) for trial in trials] == [(TrialState.COMPLETE, 0.0)] * NUM_RUNS
    assert not model_path(task.folder, 2).exists()


def test_a_run_can_be_sent_to_a_worker(task: RerankTask) -> None:
    assert pickle.loads(pickle.dumps(task)) == task


@pytest.mark.full
@pytest.mark.usefixtures("no_mirror")
def test_further_runs_measure_on_the_searchs_digits_where_no_test_digits_are(
    task: RerankTask, training_files: Path
) -> None:
    validation = replace(task.validation, dataset="mnist", data_dir=training_files)
    resources = replace(task, validation=validation).prepare("cpu")
    summary = Path(space.__file__).parent / "results" / "reference" / "summary.json"
    split = fingerprint(resources.training, resources.validation)
    assert split == json.loads(summary.read_text())["settings"]["split"]
    assert (len(resources.training), len(resources.validation)) == (50_000, 10_000)


# All runs


@pytest.fixture
def jobs() -> list[Job]:
    """Those that `session` was to execute."""
    return []


@pytest.fixture
def session(
    search_study: StoredStudy, the_space: Space, code: Code, jobs: list[Job], storage_url: str, tmp_path: Path
) -> Session:
    """A session in which nothing is executed, as if Ctrl-C came first."""

    def execute(job: Job, *_: Any, **__: Any) -> bool:
        jobs.append(job)
        return True

    return Session(
        settings=SearchSettings(storage=storage_url, results_dir=tmp_path / "results"),
        space=the_space,
        storage=search_study.storage,
        devices=("cpu",),
        precision="fp32",
        execute=execute,
        screen=Listener(),
        code=code,
    )


def test_the_candidates_are_rebuilt_from_their_recorded_draws(
    search_study: StoredStudy, session: Session, jobs: list[Job], task: RerankTask, tmp_path: Path
) -> None:
    assert run_reranking(session, search_study, read_ranking(search_study), task.validation, 2, deadline=None)
    [job] = jobs
    assert isinstance(job.task, RerankTask)
    assert job.task.candidates.keys() == {2, 0}
    assert job.task.folder == tmp_path / "results" / "small"
    for trial in leading_trials(search_study, 2):
        candidate, facts = job.task.candidates[trial.number], TrialFacts.of(trial)
        assert candidate.config.model.channels == facts.channels
        assert candidate.params == trial.params


def test_further_runs_are_never_pruned_and_their_deadline_is_that_of_the_search(
    search_study: StoredStudy, session: Session, jobs: list[Job], task: RerankTask
) -> None:
    run_reranking(session, search_study, read_ranking(search_study), task.validation, 1, deadline=12_345.0)
    [job] = jobs
    assert (job.settings.deadline, job.settings.pruner) == (12_345.0, "none")
    assert job.settings.study_name == "small-rerank"
    note = get_note(StoredStudy.load(search_study.storage, "small-rerank").study)
    assert note.startswith("Further runs of the leading trials of **small**")  # from its first moment on


def test_what_is_reranked_already_is_not_run_again(
    search_study: StoredStudy, reranking: StoredStudy, session: Session, jobs: list[Job], task: RerankTask
) -> None:
    for trial in leading_trials(search_study, 2):
        add_runs(reranking, trial, 98.0, 98.0)
    assert not run_reranking(session, search_study, read_ranking(search_study), task.validation, 2, deadline=None)
    assert jobs == []
    assert isinstance(session.screen, Listener)
    assert session.screen.said == []


def test_without_a_complete_trial_nothing_is_reranked(
    search_study: StoredStudy, sample_binding: Binding, session: Session, jobs: list[Job], task: RerankTask
) -> None:
    new = open_search_study(search_study.storage, "new", sample_binding, space.REFERENCE)
    assert not run_reranking(session, new, None, task.validation, 5, deadline=None)
    assert jobs == []
    assert optuna.get_all_study_names(search_study.storage) == ["small", "new"]


# The comparison with the first trial


def test_the_winner_and_the_first_trial_run_in_pairs_that_chose_neither(
    search_study: StoredStudy, reranking: StoredStudy, session: Session, jobs: list[Job], task: RerankTask
) -> None:
    winner, first = leading_trials(search_study, 2)
    add_runs(reranking, winner, 98.5, 98.4, 98.0)  # one of the comparison is there already
    add_runs(reranking, first, 98.0, 98.0)
    ranking = read_ranking(search_study)
    assert ranking is not None
    assert run_comparison(session, search_study, ranking, task.validation, 2, deadline=None)
    [job] = jobs
    left = [dict(key) for key in keys_left(reranking, job.plan) if isinstance(key, tuple)]
    assert left == [{"trial": 0, "run": 2}, {"trial": 2, "run": 3}, {"trial": 0, "run": 3}]
    assert isinstance(job.task, RerankTask)
    assert job.task.candidates.keys() == {2, 0}
    assert isinstance(session.screen, Listener)
    assert session.screen.said == ["Comparing the winner, trial 2, with the study's first trial by 2 runs of each."]


def test_a_first_trial_that_wins_runs_alone_for_the_runs_that_chose_it_flatter_it(
    search_study: StoredStudy, reranking: StoredStudy, session: Session, jobs: list[Job], task: RerankTask
) -> None:
    second, first = leading_trials(search_study, 2)
    add_runs(reranking, second, 98.0, 98.0)
    add_runs(reranking, first, 98.5, 98.5)
    ranking = read_ranking(search_study)
    assert ranking is not None
    assert run_comparison(session, search_study, ranking, task.validation, 2, deadline=None)
    [job] = jobs
    left = [dict(key) for key in keys_left(reranking, job.plan) if isinstance(key, tuple)]
    assert left == [{"trial": 0, "run": 2}, {"trial": 0, "run": 3}]
    assert isinstance(session.screen, Listener)
    assert session.screen.said == ["The study's first trial has won. To tell what it reaches, it is run 2 more times."]
