import dataclasses
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import optuna
import pytest
import torch
from optuna.storages import RDBStorage
from optuna.trial import TrialState

import space
from search import verify
from search.config import TrialConfig
from search.data import Split
from search.model import load_model, load_record
from search.provenance import space_hash, versions
from search.study import StudyError, record_use
from search.tickets import claim_trial, tickets_left
from search.train import DivergedError, EpochResult, Evaluation, Runtime, evaluate, train
from search.verdict import make_record

SPACE = space_hash(Path(space.__file__))
TRAINED_WITH = {"commit": "0123abc", "versions": {"python": "3.12.3", "torch": "2.14.1"}}


def add_seed(verification: optuna.Study, seed: int, state: TrialState = TrialState.COMPLETE) -> None:
    """A seed of 60 errors, as a worker records it."""
    attributes = {"ticket": seed, "errors": 60, "num_images": 10_000, "device": "cpu", "precision": "fp32"}
    verification.add_trial(
        optuna.trial.create_trial(
            state=state,
            value=99.4 if state == TrialState.COMPLETE else None,
            params={"seed": seed},
            distributions={"seed": optuna.distributions.IntDistribution(0, verify.LARGEST_SEED)},
            user_attrs={**attributes, **TRAINED_WITH},
        )
    )


def test_the_trial_to_prove_is_the_best_one(search_study: optuna.Study) -> None:
    assert verify.choose_trial(search_study, None).number == 2


def test_any_complete_trial_can_be_chosen(search_study: optuna.Study) -> None:
    assert verify.choose_trial(search_study, 0).number == 0


@pytest.mark.parametrize(
    ("number", "complaint"),
    [
        (1, "Trial 1 is pruned"),
        (3, "Trial 3 is fail"),
        (4, "Trial 4 is running"),
        (5, r"'small' has no trial 5\. Leave --trial out"),
        (-1, "'small' has no trial -1"),
    ],
)
def test_only_a_complete_trial_can_be_chosen(search_study: optuna.Study, number: int, complaint: str) -> None:
    with pytest.raises(StudyError, match=complaint):
        verify.choose_trial(search_study, number)


def test_there_is_no_best_trial_before_one_is_complete() -> None:
    study = optuna.create_study(study_name="begun")
    study.add_trial(optuna.trial.create_trial(state=TrialState.PRUNED))
    with pytest.raises(StudyError, match="'begun' has no complete trial yet"):
        verify.choose_trial(study, None)


def test_the_winner_is_rebuilt_from_its_recorded_draws(search_study: optuna.Study) -> None:
    for number in (0, 2):
        trial = search_study.get_trials()[number]
        config = verify.rebuild_config(search_study, trial, space.suggest_config, SPACE)
        assert [list(stage) for stage in config.model.channels] == trial.user_attrs["channels"]
        assert config.model.num_params == trial.user_attrs["num_params"] <= 7_999
        assert (config.lr, config.model.dropout) == (trial.params["lr"], trial.params["dropout"])


def test_a_winner_of_an_edited_space_is_not_rebuilt(search_study: optuna.Study) -> None:
    with pytest.raises(StudyError, match=r"space\.py was edited since study 'small' was made"):
        verify.rebuild_config(search_study, search_study.get_trials()[2], space.suggest_config, "another")


def test_a_winner_of_another_recipe_is_not_rebuilt(search_study: optuna.Study) -> None:
    search_study.set_user_attr("recipe", 1)
    with pytest.raises(StudyError, match=r"another version of this tool \(at .*; recipe 1, now 2\)"):
        verify.rebuild_config(search_study, search_study.get_trials()[2], space.suggest_config, SPACE)


def test_a_winner_that_comes_out_different_is_refused(search_study: optuna.Study) -> None:
    with pytest.raises(StudyError, match="Trial 2 rebuilt has channels"):
        verify.rebuild_config(
            search_study, search_study.get_trials()[2], lambda trial, _: space.suggest_config(trial, 3_000), SPACE
        )


@pytest.fixture
def winner(search_study: optuna.Study) -> optuna.trial.FrozenTrial:
    return verify.choose_trial(search_study, None)


@pytest.fixture
def config(search_study: optuna.Study, winner: optuna.trial.FrozenTrial) -> TrialConfig:
    return verify.rebuild_config(search_study, winner, space.suggest_config, SPACE)


@pytest.fixture
def verification(
    searched_storage: RDBStorage, search_study: optuna.Study, winner: optuna.trial.FrozenTrial, config: TrialConfig
) -> optuna.Study:
    return verify.open_verify_study(searched_storage, search_study, winner, config)


def test_each_winner_is_verified_in_a_study_of_its_own(verification: optuna.Study) -> None:
    assert verification.study_name == "small-verify-2"
    assert verification.user_attrs["kind"] == "verify"
    assert verification.user_attrs["search_study"] == "small"
    assert (verification.user_attrs["trial"], verification.user_attrs["epochs"]) == (2, 4)


def test_a_verification_is_not_continued_with_another_configuration(
    searched_storage: RDBStorage,
    search_study: optuna.Study,
    winner: optuna.trial.FrozenTrial,
    config: TrialConfig,
    verification: optuna.Study,
) -> None:
    again = verify.open_verify_study(searched_storage, search_study, winner, config)
    assert again.study_name == verification.study_name
    with pytest.raises(StudyError, match="'small-verify-2' verified another configuration"):
        verify.open_verify_study(searched_storage, search_study, winner, dataclasses.replace(config, lr=0.5))


def test_an_attempt_is_a_trial_put_to_the_test_on_a_first_seed(
    searched_storage: RDBStorage, search_study: optuna.Study, verification: optuna.Study
) -> None:
    assert verify.count_attempts(searched_storage, "small") == 0  # nothing is planned yet
    verify.plan_attempt(verification, searched_storage, 10_000, 5)
    assert verify.count_attempts(searched_storage, "small") == 1
    verify.plan_attempt(verification, searched_storage, 10_000, 20)  # resumed, or extended
    assert verify.count_attempts(searched_storage, "small") == 1
    verify.plan_attempt(verification, searched_storage, 20_000, 5)
    assert verify.count_attempts(searched_storage, "small") == 2
    runner_up = search_study.get_trials()[0]
    config = verify.rebuild_config(search_study, runner_up, space.suggest_config, SPACE)
    other = verify.open_verify_study(searched_storage, search_study, runner_up, config)
    verify.plan_attempt(other, searched_storage, 10_000, 5)
    assert verify.count_attempts(searched_storage, "small") == 3
    assert verify.count_attempts(searched_storage, "another") == 0


def test_an_attempt_is_on_record_before_anything_is_measured(
    searched_storage: RDBStorage,
    search_study: optuna.Study,
    winner: optuna.trial.FrozenTrial,
    config: TrialConfig,
    verification: optuna.Study,
) -> None:
    assert verify.plan_attempt(verification, searched_storage, 10_000, 5) == range(10_000, 10_005)
    assert verify.plan_attempt(verification, searched_storage, 20_000, 3) == range(20_000, 20_003)
    reopened = verify.open_verify_study(searched_storage, search_study, winner, config)
    assert reopened.user_attrs["attempts"] == {"10000": 5, "20000": 3}


def test_an_attempt_is_extended_by_asking_for_more(searched_storage: RDBStorage, verification: optuna.Study) -> None:
    verify.plan_attempt(verification, searched_storage, 10_000, 5)
    for seed in range(10_000, 10_005):
        add_seed(verification, seed)
    seeds = verify.plan_attempt(verification, searched_storage, 10_000, 20)
    assert seeds == range(10_000, 10_020)
    assert tickets_left(verification, seeds) == list(range(10_005, 10_020))
    assert verification.user_attrs["attempts"] == {"10000": 20}


def test_an_attempt_is_not_cut_down_below_what_it_measured(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    verify.plan_attempt(verification, searched_storage, 10_000, 20)
    for seed in (10_000, 10_001, 10_002, 10_004, 10_005, 10_006):  # cut off there, while 10,003 was under way
        add_seed(verification, seed)
    seeds = verify.plan_attempt(verification, searched_storage, 10_000, 5)
    assert seeds == range(10_000, 10_007)
    assert tickets_left(verification, seeds) == [10_003]
    add_seed(verification, 10_003)
    assert [trial.params["seed"] for trial in verify.measured_seeds(verification, seeds)] == list(seeds)
    # Asked for once more, whatever the number, it is what it was.
    assert verify.plan_attempt(verification, searched_storage, 10_000, 1) == seeds
    assert verification.user_attrs["attempts"] == {"10000": 20}


def test_what_was_planned_but_never_measured_may_be_given_up(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    verify.plan_attempt(verification, searched_storage, 10_000, 20)
    add_seed(verification, 10_000)
    add_seed(verification, 10_008, TrialState.FAIL)
    assert verify.plan_attempt(verification, searched_storage, 10_000, 5) == range(10_000, 10_005)


def test_seeds_of_another_attempt_do_not_stretch_this_one(
    searched_storage: RDBStorage, verification: optuna.Study
) -> None:
    verify.plan_attempt(verification, searched_storage, 10_000, 5)
    verify.plan_attempt(verification, searched_storage, 10_003, 10)
    for seed in range(10_000, 10_013):
        add_seed(verification, seed)
    assert verify.plan_attempt(verification, searched_storage, 10_000, 3) == range(10_000, 10_005)
    assert verify.plan_attempt(verification, searched_storage, 10_003, 3) == range(10_003, 10_013)


def test_measured_seeds_come_in_the_order_of_the_plan() -> None:
    verification = optuna.create_study()
    for seed in (10_002, 10_000, 10_003, 10_001):
        add_seed(verification, seed)
    measured = verify.measured_seeds(verification, range(10_000, 10_003))
    assert [trial.params["seed"] for trial in measured] == [10_000, 10_001, 10_002]


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.FAIL])
def test_no_verdict_leaves_out_a_seed_of_its_plan(state: TrialState) -> None:
    verification = optuna.create_study()
    for seed in (10_000, 10_001, 10_003):
        add_seed(verification, seed)
    add_seed(verification, 10_002, state)
    with pytest.raises(StudyError, match="Another command is at work on some of these seeds"):
        verify.measured_seeds(verification, range(10_000, 10_004))


def test_the_record_names_what_the_seeds_were_trained_with_not_what_came_later(
    verification: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (10_000, 10_001):
        add_seed(verification, seed)
    later = {"commit": "4567def", "versions": {"python": "3.15.0", "torch": "3.0.0"}}
    monkeypatch.setattr("search.study.code_commit", lambda: later["commit"])
    monkeypatch.setattr("search.study.versions", lambda: later["versions"])
    record_use(verification)  # the same command again, after an update: all is measured, nothing is trained
    assert verification.user_attrs["continued_with"] == [later]
    measured = verify.measured_seeds(verification, range(10_000, 10_002))
    facts = make_record(verification, measured, target=Decimal("99.4"), attempts=1)
    assert {"commit": facts["commit"], "versions": facts["versions"]} == TRAINED_WITH


@pytest.fixture
def job(storage_url: str, verification: optuna.Study, config: TrialConfig, tmp_path: Path) -> verify.VerifyJob:
    """Two seeds, two epochs each."""
    return verify.VerifyJob(
        storage_url=storage_url,
        study_name=verification.study_name,
        tickets=range(10_000, 10_002),
        config=config,
        epochs=2,
        dataset="sample",
        data_dir=tmp_path,
        precision="fp32",
        model_path=tmp_path / "results" / "seed.safetensors",
        commit="0123abc",
    )


def run_next_seed(
    job: verify.VerifyJob,
    storage: RDBStorage,
    splits: tuple[Split, Split],
    runtime: Runtime,
    should_stop: Callable[[], bool] = lambda: False,
) -> optuna.trial.FrozenTrial:
    """What a worker does, on digits and a machine that are handed in."""
    study = optuna.load_study(storage=storage, study_name=job.study_name)
    trial = claim_trial(
        study, storage, job.tickets, sampler=job.sampler, seed=job.seed, fixed_params=job.fixed_params()
    )
    assert trial is not None
    job.run(study, trial, storage, (*splits, runtime), should_stop)
    return study.get_trials()[trial.number]


@pytest.fixture
def few_splits(few_digits: Split, final_splits: tuple[Split, Split]) -> tuple[Split, Split]:
    return few_digits, final_splits[1].select(torch.arange(100))


def test_the_test_digits_are_evaluated_once_per_seed_after_the_last_epoch(
    job: verify.VerifyJob,
    searched_storage: RDBStorage,
    few_splits: tuple[Split, Split],
    cpu: Runtime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    epochs_before = []

    def watched_evaluate(model: torch.nn.Module, split: Split, runtime: Runtime) -> Evaluation:
        running = optuna.load_study(storage=searched_storage, study_name=job.study_name).get_trials()[-1]
        epochs_before.append((split is few_splits[1], running.user_attrs["epochs"]))
        return evaluate(model, split, runtime)

    monkeypatch.setattr(verify, "evaluate", watched_evaluate)
    trial = run_next_seed(job, searched_storage, few_splits, cpu)
    assert epochs_before == [(True, 2)]
    assert trial.state == TrialState.COMPLETE
    assert trial.intermediate_values == {}


def test_a_seed_leaves_a_complete_record(
    job: verify.VerifyJob, searched_storage: RDBStorage, few_splits: tuple[Split, Split], cpu: Runtime
) -> None:
    trial = run_next_seed(job, searched_storage, few_splits, cpu)
    attributes = trial.user_attrs
    assert trial.params == {"seed": 10_000}
    assert trial.value == pytest.approx(100 - attributes["errors"])
    assert attributes["num_images"] == 100
    assert (attributes["epochs"], attributes["device"], attributes["precision"]) == (2, "cpu", "fp32")
    assert (attributes["commit"], attributes["versions"]) == ("0123abc", versions())


def test_the_model_of_the_first_seed_is_kept(
    job: verify.VerifyJob, searched_storage: RDBStorage, few_splits: tuple[Split, Split], cpu: Runtime
) -> None:
    first = run_next_seed(job, searched_storage, few_splits, cpu)
    kept = job.model_path.read_bytes()
    second = run_next_seed(job, searched_storage, few_splits, cpu)
    assert second.params == {"seed": 10_001}
    assert job.model_path.read_bytes() == kept
    assert evaluate(load_model(job.model_path), few_splits[1], cpu).errors == first.user_attrs["errors"]
    assert load_record(job.model_path)["seed"] == 10_000
    assert load_record(job.model_path)["test_accuracy"] == first.value


def test_seeds_differ_and_each_repeats(
    job: verify.VerifyJob, searched_storage: RDBStorage, few_splits: tuple[Split, Split], cpu: Runtime
) -> None:
    first = run_next_seed(job, searched_storage, few_splits, cpu)
    second = run_next_seed(job, searched_storage, few_splits, cpu)
    optuna.delete_study(storage=searched_storage, study_name=job.study_name)
    optuna.create_study(storage=searched_storage, study_name=job.study_name, direction="maximize")
    repeated = run_next_seed(job, searched_storage, few_splits, cpu)
    assert first.user_attrs["train_loss"] != second.user_attrs["train_loss"]
    assert first.user_attrs["train_loss"] == repeated.user_attrs["train_loss"]


def test_an_interrupted_seed_is_not_measured_and_is_tried_again(
    job: verify.VerifyJob, searched_storage: RDBStorage, few_splits: tuple[Split, Split], cpu: Runtime
) -> None:
    interrupted = run_next_seed(job, searched_storage, few_splits, cpu, should_stop=lambda: True)
    assert interrupted.state == TrialState.FAIL
    assert interrupted.user_attrs["epochs"] == 1
    assert "errors" not in interrupted.user_attrs
    again = run_next_seed(job, searched_storage, few_splits, cpu)
    assert again.params == interrupted.params == {"seed": 10_000}
    assert again.state == TrialState.COMPLETE


def test_a_seed_that_diverges_is_measured_as_a_miss(
    job: verify.VerifyJob,
    searched_storage: RDBStorage,
    few_splits: tuple[Split, Split],
    cpu: Runtime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def train_and_diverge(*args: object, **kwargs: object) -> Iterator[EpochResult]:
        yield next(train(*args, **kwargs))  # type: ignore[arg-type]
        raise DivergedError("The loss was nan.")

    monkeypatch.setattr(verify, "train", train_and_diverge)
    diverged = run_next_seed(job, searched_storage, few_splits, cpu)
    assert (diverged.state, diverged.value) == (TrialState.COMPLETE, 0.0)
    assert (diverged.user_attrs["errors"], diverged.user_attrs["num_images"]) == (100, 100)
    assert not job.model_path.exists()
    # It is done: the next one is the next seed, and the record counts both.
    monkeypatch.setattr(verify, "train", train)
    assert run_next_seed(job, searched_storage, few_splits, cpu).params == {"seed": 10_001}
    verification = optuna.load_study(storage=searched_storage, study_name=job.study_name)
    measured = verify.measured_seeds(verification, job.tickets)
    facts = make_record(verification, measured, target=Decimal("99.4"), attempts=1)
    assert facts["seeds"][0] == {"seed": 10_000, "test_accuracy": 0.0, "errors": 100}
    assert facts["num_passed"] < len(facts["seeds"]) == 2


def test_measured_seeds_make_the_record(
    job: verify.VerifyJob, searched_storage: RDBStorage, few_splits: tuple[Split, Split], cpu: Runtime
) -> None:
    trials = [run_next_seed(job, searched_storage, few_splits, cpu) for _ in job.tickets]
    verification = optuna.load_study(storage=searched_storage, study_name=job.study_name)
    measured = verify.measured_seeds(verification, job.tickets)
    facts = make_record(verification, measured, target=Decimal("99.4"), attempts=1)
    assert [each["errors"] for each in facts["seeds"]] == [trial.user_attrs["errors"] for trial in trials]
    assert [each["test_accuracy"] for each in facts["seeds"]] == [trial.value for trial in trials]
    assert json.loads(json.dumps(facts)) == facts
