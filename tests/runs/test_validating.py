import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

import space
from search.config import RECIPE, AugmentConfig, ModelConfig, TrialConfig
from search.data import Split
from search.model import ALL_VIEWS, ONE_VIEW, TinyCNN, Views, load_model, load_record
from search.objective import Resources, SearchJob, rebuild_config
from search.provenance import space_hash, versions
from search.study import Binding, StudyError, best_trial, open_search_study
from search.tickets import claim_trial
from search.train import Evaluation, Runtime, evaluate

SPACE = space_hash(Path(space.__file__))
BINDING = Binding(dataset="sample", split="few", max_params=1_000, epochs=3, space="tiny")
FIRST = {"lr": 0.02}
CHANNELS = (2,), (3,), (4,)
NUM_PARAMS = 246  # 18 + 54 + 108 weights, 2 of the first bias, 14 of norms, 50 of the head


def suggest_tiny(trial: optuna.trial.BaseTrial, max_params: int) -> TrialConfig:
    lr = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    augment = AugmentConfig(rotation=10.0, shift=1.0)
    return TrialConfig(model=ModelConfig(channels=CHANNELS), augment=augment, lr=lr, weight_decay=0.01)


def suggest_over_budget(trial: optuna.trial.BaseTrial, max_params: int) -> TrialConfig:
    config = suggest_tiny(trial, max_params)
    return replace(config, model=ModelConfig(channels=((8,), (8,), (8,))))


def suggest_diverging(trial: optuna.trial.BaseTrial, max_params: int) -> TrialConfig:
    return replace(suggest_tiny(trial, max_params), lr=1e38)


@pytest.fixture(scope="module")
def resources(sample_splits: tuple[Split, Split], few_digits: Split, cpu: Runtime) -> Resources:
    return (few_digits, sample_splits[1].select(torch.arange(200))), cpu


@pytest.fixture
def study(storage: RDBStorage) -> optuna.Study:
    return open_search_study(storage, "tiny", BINDING, FIRST)


@pytest.fixture
def job(storage_url: str, tmp_path: Path) -> SearchJob:
    return SearchJob(
        storage_url=storage_url,
        study_name="tiny",
        sampler="random",
        pruner="none",
        seed=0,
        tickets=range(4),
        deadline=None,
        dataset="sample",
        data_dir=tmp_path,
        max_params=BINDING.max_params,
        epochs=BINDING.epochs,
        precision="fp32",
        suggest_config=suggest_tiny,
        results_dir=tmp_path / "results",
        commit="0123abc",
    )


@pytest.fixture
def run_next(study: optuna.Study, storage: RDBStorage, resources: Resources) -> Callable[..., FrozenTrial]:
    def run(
        job: SearchJob, *, study: optuna.Study = study, should_stop: Callable[[], bool] = lambda: False
    ) -> FrozenTrial:
        trial = claim_trial(study, storage, job.tickets, sampler=job.sampler, seed=job.seed, fixed_params={})
        assert trial is not None
        job.run(study, trial, storage, resources, should_stop)
        return study.trials[trial.number]

    return run


def saved_model(job: SearchJob) -> Path:
    return job.results_dir / job.study_name / "best.safetensors"


def test_a_trial_records_what_it_was_and_how_it_went(job: SearchJob, run_next: Callable[..., FrozenTrial]) -> None:
    trial = run_next(job)
    recorded = trial.user_attrs
    assert trial.state == TrialState.COMPLETE
    assert trial.params == FIRST
    assert recorded["channels"] == [list(stage) for stage in CHANNELS]
    assert (recorded["num_params"], recorded["ticket"], recorded["epochs"]) == (NUM_PARAMS, 0, 3)
    assert (recorded["device"], recorded["precision"], recorded["commit"]) == ("cpu", "fp32", "0123abc")
    assert recorded["seconds"] > 0
    assert recorded["worker_peak_memory_mb"] > 10
    assert 0 < recorded["train_loss"] < 10
    assert 0 < recorded["val_loss"] < 10
    assert "prune_reason" not in recorded


def test_every_epoch_is_reported_with_one_view_and_the_value_is_the_last_ones_with_all(
    job: SearchJob, run_next: Callable[..., FrozenTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = []

    def watched_evaluate(model: TinyCNN, split: Split, runtime: Runtime, views: Views = ONE_VIEW) -> Evaluation:
        evaluation = evaluate(model, split, runtime, views)
        accuracies.append((len(views), evaluation.accuracy))
        return evaluation

    monkeypatch.setattr("search.objective.evaluate", watched_evaluate)
    trial = run_next(job)
    assert list(trial.intermediate_values) == [1, 2, 3]
    assert accuracies == [*((1, accuracy) for accuracy in trial.intermediate_values.values()), (27, trial.value)]
    assert all(0 <= accuracy <= 100 for accuracy in trial.intermediate_values.values())


def test_the_distance_to_the_budget_is_recorded_as_a_constraint(
    job: SearchJob, run_next: Callable[..., FrozenTrial]
) -> None:
    assert run_next(job).constraints == {"num_params": NUM_PARAMS - 1_000}
    assert run_next(replace(job, max_params=NUM_PARAMS)).state == TrialState.COMPLETE  # the limit itself is allowed


def test_a_network_over_budget_is_refused_untrained(
    job: SearchJob, study: optuna.Study, run_next: Callable[..., FrozenTrial]
) -> None:
    trial = run_next(replace(job, suggest_config=suggest_over_budget))
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {}
    assert trial.user_attrs["prune_reason"] == "over budget"
    assert trial.user_attrs["num_params"] > 1_000
    assert trial.constraints["num_params"] > 0
    assert best_trial(study) is None
    assert not saved_model(job).exists()


def test_one_parameter_over_budget_is_over_budget(job: SearchJob, run_next: Callable[..., FrozenTrial]) -> None:
    assert run_next(replace(job, max_params=NUM_PARAMS - 1)).user_attrs["prune_reason"] == "over budget"


def test_the_parameters_of_the_real_network_count(
    job: SearchJob, study: optuna.Study, run_next: Callable[..., FrozenTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    class LargerCNN(TinyCNN):
        def __init__(self, config: ModelConfig) -> None:
            super().__init__(config)
            self.extra = torch.nn.Parameter(torch.zeros(1))

    monkeypatch.setattr("search.objective.TinyCNN", LargerCNN)
    with pytest.raises(AssertionError, match=str(NUM_PARAMS + 1)):
        run_next(job)
    assert study.trials[0].intermediate_values == {}


def test_a_trial_that_diverges_is_pruned_and_says_so(job: SearchJob, run_next: Callable[..., FrozenTrial]) -> None:
    trial = run_next(replace(job, suggest_config=suggest_diverging))
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["prune_reason"] == "diverged"
    assert not saved_model(job).exists()


def add_perfect_trials(study: optuna.Study, number: int) -> None:
    for _ in range(number):
        perfect = dict.fromkeys(range(1, 7), 100.0)
        study.add_trial(optuna.trial.create_trial(value=100.0, intermediate_values=perfect))


@pytest.mark.parametrize(
    ("pruner", "num_better", "state", "epochs"),
    [
        ("percentile", 4, TrialState.PRUNED, 5),  # after the warm-up
        ("percentile", 3, TrialState.COMPLETE, 6),  # too few to compare with
        ("none", 4, TrialState.COMPLETE, 6),
    ],
)
def test_the_pruner_ends_what_is_far_behind(
    job: SearchJob,
    study: optuna.Study,
    run_next: Callable[..., FrozenTrial],
    pruner: str,
    num_better: int,
    state: TrialState,
    epochs: int,
) -> None:
    add_perfect_trials(study, num_better)
    trial = run_next(replace(job, pruner=pruner, epochs=6))
    assert trial.state == state
    assert trial.user_attrs["epochs"] == len(trial.intermediate_values) == epochs
    assert trial.user_attrs.get("prune_reason") == ("not promising" if state == TrialState.PRUNED else None)


def test_an_interrupted_trial_comes_to_what_it_would_have_come_to(
    job: SearchJob, run_next: Callable[..., FrozenTrial], storage: RDBStorage
) -> None:
    run_next(job)
    interrupted = run_next(job, should_stop=lambda: True)
    assert interrupted.state == TrialState.FAIL
    assert interrupted.user_attrs["epochs"] == len(interrupted.intermediate_values) == 1
    retry = run_next(job)
    assert retry.user_attrs["ticket"] == interrupted.user_attrs["ticket"] == 1
    uninterrupted = open_search_study(storage, "uninterrupted", BINDING, FIRST)
    _, twin = (run_next(job, study=uninterrupted) for _ in range(2))
    assert interrupted.params == retry.params == twin.params
    assert retry.intermediate_values == twin.intermediate_values
    assert retry.user_attrs["train_loss"] == twin.user_attrs["train_loss"]


def test_a_ticket_trained_again_comes_to_the_same_to_the_last_digit(
    job: SearchJob, run_next: Callable[..., FrozenTrial], storage: RDBStorage
) -> None:
    first = run_next(job)
    again = run_next(job, study=open_search_study(storage, "again", BINDING, FIRST))
    other = run_next(job)  # the next ticket's seed is another
    assert (first.value, first.intermediate_values) == (again.value, again.intermediate_values)
    for key in ("seed", "train_loss", "val_loss"):
        assert first.user_attrs[key] == again.user_attrs[key] != other.user_attrs[key]


def test_a_trial_asked_to_stop_in_its_last_epoch_completes(
    job: SearchJob, run_next: Callable[..., FrozenTrial]
) -> None:
    assert run_next(replace(job, epochs=1), should_stop=lambda: True).state == TrialState.COMPLETE


def test_the_best_model_evaluated_again_gives_the_recorded_accuracy(
    job: SearchJob, study: optuna.Study, run_next: Callable[..., FrozenTrial], resources: Resources
) -> None:
    for _ in range(3):
        run_next(job)
    best = best_trial(study)
    assert best is not None
    (_, validation), runtime = resources
    evaluation = evaluate(load_model(saved_model(job)), validation, runtime, ALL_VIEWS)
    assert evaluation.accuracy == best.value
    assert evaluation.loss == pytest.approx(best.user_attrs["val_loss"], rel=1e-5)
    record = load_record(saved_model(job))
    assert (record["trial"], record["val_accuracy"], record["seed"]) == (
        best.number,
        best.value,
        best.user_attrs["seed"],
    )
    assert record["config"]["lr"] == best.params["lr"]
    assert (record["commit"], record["versions"]) == ("0123abc", versions())


def test_a_model_is_saved_before_its_trial_counts(
    job: SearchJob, study: optuna.Study, run_next: Callable[..., FrozenTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_args: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "tell", crash)
    with pytest.raises(KeyboardInterrupt):
        run_next(job)
    assert study.trials[0].state == TrialState.RUNNING
    assert load_record(saved_model(job))["trial"] == 0


@pytest.mark.parametrize(("value", "saved"), [(100.0, False), (0.0, True)])
def test_a_model_is_saved_only_if_it_leads(
    job: SearchJob, study: optuna.Study, run_next: Callable[..., FrozenTrial], value: float, saved: bool
) -> None:
    study.add_trial(optuna.trial.create_trial(value=value))
    run_next(job)
    assert saved_model(job).exists() is saved


def test_an_equal_result_leaves_the_earlier_model(
    job: SearchJob, run_next: Callable[..., FrozenTrial], storage: RDBStorage
) -> None:
    value = run_next(job).value
    twin = optuna.create_study(storage=storage, study_name="twin", direction="maximize")
    twin.add_trial(optuna.trial.create_trial(value=value))
    twin.enqueue_trial(FIRST)
    assert run_next(replace(job, study_name="twin"), study=twin).value == value
    assert not saved_model(replace(job, study_name="twin")).exists()


def test_no_trial_starts_after_the_deadline(job: SearchJob) -> None:
    assert not job.expired()
    assert not replace(job, deadline=time.time() + 60).expired()
    assert replace(job, deadline=time.time()).expired()


def test_a_job_can_be_sent_to_a_worker(job: SearchJob) -> None:
    job = replace(job, suggest_config=space.suggest_config)
    assert pickle.loads(pickle.dumps(job)) == job


def test_a_worker_prepares_the_searchs_digits_where_no_files_are(job: SearchJob) -> None:
    (training, validation), runtime = job.prepare("cpu")
    assert (len(training), len(validation)) == (3_200, 800)
    assert (runtime.device.type, runtime.precision) == ("cpu", "fp32")


# Rebuilding


def test_the_winner_is_rebuilt_from_its_recorded_draws(search_study: optuna.Study) -> None:
    for number in (0, 2):
        trial = search_study.get_trials()[number]
        config = rebuild_config(search_study, trial, space.suggest_config, SPACE)
        assert [list(stage) for stage in config.model.channels] == trial.user_attrs["channels"]
        assert config.model.num_params == trial.user_attrs["num_params"] <= 1_999
        assert (config.lr, config.model.dropout) == (trial.params["lr"], trial.params["dropout"])


def test_a_winner_of_an_edited_space_is_not_rebuilt(search_study: optuna.Study) -> None:
    with pytest.raises(StudyError, match=r"space\.py was edited since study 'small' was made"):
        rebuild_config(search_study, search_study.get_trials()[2], space.suggest_config, "another")


def test_a_winner_of_another_recipe_is_not_rebuilt(search_study: optuna.Study) -> None:
    search_study.set_user_attr("recipe", 1)
    with pytest.raises(StudyError, match=rf"another version of this tool \(at .*; recipe 1, now {RECIPE}\)"):
        rebuild_config(search_study, search_study.get_trials()[2], space.suggest_config, SPACE)


def test_a_winner_that_comes_out_different_is_refused(search_study: optuna.Study) -> None:
    with pytest.raises(StudyError, match="Trial 2 rebuilt has channels"):
        rebuild_config(
            search_study, search_study.get_trials()[2], lambda trial, _: space.suggest_config(trial, 3_000), SPACE
        )
