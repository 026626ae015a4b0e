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
from recording import TRAINED_WITH, add_runs, add_seed

import space
from search import final, rerank, verify
from search.config import TrialConfig
from search.data import Split
from search.model import ALL_VIEWS, ONE_VIEW, TinyCNN, Views, load_model, load_record, save_model
from search.provenance import space_hash, versions
from search.study import StudyError, record_use
from search.tickets import claim_trial
from search.train import DivergedError, EpochResult, Evaluation, Runtime, evaluate, train
from search.verdict import make_record

SPACE = space_hash(Path(space.__file__))


def test_without_a_reranking_the_best_of_the_search_is_proved(
    search_study: optuna.Study, searched_storage: RDBStorage
) -> None:
    choice = verify.choose_trial(search_study, searched_storage, None)
    assert choice.trial.number == 2
    assert choice.rule == "the best of 2 single runs; not re-ranked"


def test_the_winner_of_the_reranking_is_proved_and_the_rule_is_told(
    search_study: optuna.Study, searched_storage: RDBStorage
) -> None:
    first, second = leading = rerank.leading_trials(search_study, 2)
    reranking = rerank.open_rerank_study(searched_storage, search_study, leading)
    add_runs(reranking, first, 98.0, 98.0)
    add_runs(reranking, second, 98.1, 98.2)
    choice = verify.choose_trial(search_study, searched_storage, None)
    assert choice.trial.number == second.number
    assert choice.rule == "the best of 2 re-ranked trials (98.150 % on validation, the mean of 2 further runs)"


def test_an_unfinished_reranking_has_no_winner_but_a_trial_can_be_named(
    search_study: optuna.Study, searched_storage: RDBStorage
) -> None:
    leading = rerank.leading_trials(search_study, 2)
    reranking = rerank.open_rerank_study(searched_storage, search_study, leading)
    add_runs(reranking, leading[0], 98.0, 98.0)
    search_study.set_user_attr("rerank", 5)
    with pytest.raises(StudyError, match=r"not all re-ranked yet.*--trial"):
        verify.choose_trial(search_study, searched_storage, None)
    assert verify.choose_trial(search_study, searched_storage, 0).trial.number == 0
    search_study.set_user_attr("rerank", 0)  # waived by the last search
    assert verify.choose_trial(search_study, searched_storage, None).rule.endswith("not re-ranked")


def test_a_search_that_was_to_be_reranked_has_no_winner_before(
    search_study: optuna.Study, searched_storage: RDBStorage
) -> None:
    search_study.set_user_attr("rerank", 5)
    with pytest.raises(StudyError, match="not all re-ranked yet"):
        verify.choose_trial(search_study, searched_storage, None)


def test_any_complete_trial_can_be_chosen(search_study: optuna.Study, searched_storage: RDBStorage) -> None:
    choice = verify.choose_trial(search_study, searched_storage, 0)
    assert (choice.trial.number, choice.rule) == (0, "the one asked for (--trial)")


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
def test_only_a_complete_trial_can_be_chosen(
    search_study: optuna.Study, searched_storage: RDBStorage, number: int, complaint: str
) -> None:
    with pytest.raises(StudyError, match=complaint):
        verify.choose_trial(search_study, searched_storage, number)


def test_there_is_no_best_trial_before_one_is_complete(storage: RDBStorage) -> None:
    study = optuna.create_study(study_name="begun")
    study.add_trial(optuna.trial.create_trial(state=TrialState.PRUNED))
    with pytest.raises(StudyError, match="'begun' has no complete trial yet"):
        verify.choose_trial(study, storage, None)


def test_each_winner_is_verified_in_a_study_of_its_own(verification: optuna.Study) -> None:
    assert verification.study_name == "small-verify-2"
    assert verification.user_attrs["kind"] == "verify"
    assert verification.user_attrs["search_study"] == "small"
    assert (verification.user_attrs["trial"], verification.user_attrs["epochs"]) == (2, 4)


def test_a_verification_is_not_continued_with_another_configuration(
    searched_storage: RDBStorage,
    search_study: optuna.Study,
    winner: verify.Choice,
    winner_config: TrialConfig,
    verification: optuna.Study,
) -> None:
    again = verify.open_verify_study(searched_storage, search_study, winner, winner_config)
    assert again.study_name == verification.study_name
    with pytest.raises(StudyError, match="'small-verify-2' verified something else"):
        verify.open_verify_study(searched_storage, search_study, winner, dataclasses.replace(winner_config, lr=0.5))


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
    verification.set_user_attr("rules", {"10000": "as asked for"})
    verification.set_user_attr("attempts", {"10000": 2})
    facts = make_record(verification, measured, target=Decimal("99.4"), earlier_attempts=[], other_looks=[])
    assert {"commit": facts["commit"], "versions": facts["versions"]} == TRAINED_WITH


@pytest.fixture
def job(storage_url: str, verification: optuna.Study, winner_config: TrialConfig, tmp_path: Path) -> verify.VerifyJob:
    """Two seeds, two epochs each."""
    return verify.VerifyJob(
        storage_url=storage_url,
        study_name=verification.study_name,
        tickets=range(10_000, 10_002),
        config=winner_config,
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
    calls = []

    def watched_evaluate(model: TinyCNN, split: Split, runtime: Runtime, views: Views) -> Evaluation:
        running = optuna.load_study(storage=searched_storage, study_name=job.study_name).get_trials()[-1]
        calls.append((split is few_splits[1], running.user_attrs["epochs"], views))
        return evaluate(model, split, runtime, views)

    monkeypatch.setattr(final, "evaluate", watched_evaluate)
    trial = run_next_seed(job, searched_storage, few_splits, cpu)
    assert calls == [(True, 2, ALL_VIEWS), (True, 2, ONE_VIEW)]  # and the latter for the record alone
    assert trial.user_attrs["errors"] == 100 - trial.value
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
    assert evaluate(load_model(job.model_path), few_splits[1], cpu, ALL_VIEWS).errors == first.user_attrs["errors"]
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

    monkeypatch.setattr(final, "train", train_and_diverge)
    diverged = run_next_seed(job, searched_storage, few_splits, cpu)
    assert (diverged.state, diverged.value) == (TrialState.COMPLETE, 0.0)
    assert (diverged.user_attrs["errors"], diverged.user_attrs["num_images"]) == (100, 100)
    assert not job.model_path.exists()
    # It is done: the next one is the next seed, and the record counts both.
    monkeypatch.setattr(final, "train", train)
    assert run_next_seed(job, searched_storage, few_splits, cpu).params == {"seed": 10_001}
    verification = optuna.load_study(storage=searched_storage, study_name=job.study_name)
    measured = verify.measured_seeds(verification, job.tickets)
    verification.set_user_attr("rules", {"10000": "as asked for"})
    verification.set_user_attr("attempts", {"10000": 2})
    facts = make_record(verification, measured, target=Decimal("99.4"), earlier_attempts=[], other_looks=[])
    assert facts["seeds"][0] == {"seed": 10_000, "test_accuracy": 0.0, "errors": 100, "errors_one_view": 100}
    assert facts["num_passed"] < len(facts["seeds"]) == 2


def test_measured_seeds_make_the_record(
    job: verify.VerifyJob, searched_storage: RDBStorage, few_splits: tuple[Split, Split], cpu: Runtime
) -> None:
    trials = [run_next_seed(job, searched_storage, few_splits, cpu) for _ in job.tickets]
    verification = optuna.load_study(storage=searched_storage, study_name=job.study_name)
    measured = verify.measured_seeds(verification, job.tickets)
    verification.set_user_attr("rules", {"10000": "as asked for"})
    verification.set_user_attr("attempts", {"10000": 2})
    facts = make_record(verification, measured, target=Decimal("99.4"), earlier_attempts=[], other_looks=[])
    assert [each["errors"] for each in facts["seeds"]] == [trial.user_attrs["errors"] for trial in trials]
    assert [each["test_accuracy"] for each in facts["seeds"]] == [trial.value for trial in trials]
    assert json.loads(json.dumps(facts)) == facts


def test_the_kept_model_is_named_only_if_it_is_of_this_very_run(
    job: verify.VerifyJob, searched_storage: RDBStorage, few_splits: tuple[Split, Split], cpu: Runtime
) -> None:
    trial = run_next_seed(job, searched_storage, few_splits, cpu)
    verification = optuna.load_study(storage=searched_storage, study_name=job.study_name)
    assert job.model_path is not None
    named = verify.describe_model(job.model_path, verification, 10_000)
    assert named == {"file": job.model_path.name, "seed": 10_000}
    record = load_record(job.model_path)
    for other in ({"test_accuracy": trial.value + 1}, {"commit": "another"}, {"config": {}}):
        save_model(job.model_path, load_model(job.model_path), job.config.model, record | other)
        assert verify.describe_model(job.model_path, verification, 10_000) is None, other
    job.model_path.write_bytes(b"damaged")
    assert verify.describe_model(job.model_path, verification, 10_000) is None
    job.model_path.unlink()
    assert verify.describe_model(job.model_path, verification, 10_000) is None
