"""Proofs: which trial, which seeds, what is measured, and what the record says."""

import contextlib
import dataclasses
import itertools
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import optuna
import pytest
import sqlalchemy
import torch
from commands import assert_refused, run
from evidence import ON_THE_SAMPLE, changed, make_tested, measure
from evidence import make_proof as proof_of
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from recording import TRAINED_WITH, add_runs, add_seed, open_reranking
from training import EPOCHS, after_an_epoch, work_off

from search.config import TrialConfig
from search.files import append_line
from search.net.crops import ALL_CROPS, CENTRE, Crops
from search.net.data import Split
from search.net.datasets import DATASETS, IdxFiles
from search.net.device import Runtime
from search.net.model import TinyCNN
from search.net.model_file import load_model, save_model
from search.net.model_origin import read_origin
from search.net.train import evaluate, predict
from search.proof.evidence import KeptModel, Proof
from search.proof.ledger import Look, entries_of, parse_lines
from search.proof.summaries import ModelOrigin
from search.provenance import Code, versions
from search.runs import testing
from search.runs.following import open_follower
from search.runs.history import plan_proof, read_ledger
from search.runs.looks import LEDGER_FILE, describe
from search.runs.proving import make_answers, make_proof, run_verification
from search.runs.reproducing import open_reproduction_study
from search.runs.seeds import SeedTask
from search.runs.standings import leading_trials
from search.runs.testing import FinalResources, FinalTest, Measured, made_with, measured_seeds
from search.runs.winner import Choice, choose_trial, rebuild_config
from search.settings import VerifySettings
from search.show.screen import Work
from search.studies.facts import Environment, StudyFacts, TrialFacts
from search.studies.finding import delete_studies
from search.studies.job import ShouldStop
from search.studies.kinds import Kind
from search.studies.lines import read_lines
from search.studies.plan import GivenPlan
from search.studies.space import Space
from search.studies.study import StoredStudy, StudyError

NOWHERE = Path("there-is-no-such-folder")

# Which trial


def test_without_a_reranking_the_best_of_the_search_is_proved(search_study: StoredStudy) -> None:
    choice = choose_trial(search_study, None)
    assert choice.trial.number == 2
    assert choice.rule == "the best of 2 single runs; not re-ranked"


def test_the_winner_of_the_reranking_is_proved_and_the_rule_is_told(search_study: StoredStudy) -> None:
    first, second = leading_trials(search_study, 2)
    reranking = open_reranking(search_study, 2)
    add_runs(reranking, first, 98.0, 98.0)
    add_runs(reranking, second, 98.1, 98.2)
    choice = choose_trial(search_study, None)
    assert choice.trial.number == second.number
    assert choice.rule == "the best of 2 re-ranked trials (98.150 % on validation, the mean of 2 further runs)"


def test_an_unfinished_reranking_has_no_winner_but_a_trial_can_be_named(search_study: StoredStudy) -> None:
    leading = leading_trials(search_study, 2)
    reranking = open_reranking(search_study, 2)
    add_runs(reranking, leading[0], 98.0, 98.0)
    StudyFacts(num_reranked=5).write(search_study.study)
    with pytest.raises(StudyError, match=r"not all re-ranked yet.*--trial"):
        choose_trial(search_study, None)
    assert choose_trial(search_study, 0).trial.number == 0
    StudyFacts(num_reranked=0).write(search_study.study)  # waived by the last search
    assert choose_trial(search_study, None).rule.endswith("not re-ranked")


def test_a_search_that_was_to_be_reranked_has_no_winner_before(search_study: StoredStudy) -> None:
    StudyFacts(num_reranked=5).write(search_study.study)
    with pytest.raises(StudyError, match="not all re-ranked yet"):
        choose_trial(search_study, None)


def test_any_complete_trial_can_be_chosen(search_study: StoredStudy) -> None:
    choice = choose_trial(search_study, 0)
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
def test_only_a_complete_trial_can_be_chosen(search_study: StoredStudy, number: int, complaint: str) -> None:
    with pytest.raises(StudyError, match=complaint):
        choose_trial(search_study, number)


def test_there_is_no_best_trial_before_one_is_complete(storage: RDBStorage) -> None:
    study = optuna.create_study(storage=storage, study_name="begun", direction="maximize")
    study.add_trial(optuna.trial.create_trial(state=TrialState.PRUNED))
    with pytest.raises(StudyError, match="'begun' has no complete trial yet"):
        choose_trial(StoredStudy(study, storage), None)


# Its study


def test_each_winner_is_verified_in_a_study_of_its_own(verification: StoredStudy) -> None:
    facts = verification.facts
    assert verification.name == "small-verify-2"
    assert verification.kind == Kind.VERIFY
    assert (facts.search_study, facts.trial, facts.epochs) == ("small", 2, 4)


def test_a_verification_is_not_continued_with_another_configuration(
    search_study: StoredStudy, winner: Choice, winner_config: TrialConfig, verification: StoredStudy
) -> None:
    assert open_follower(search_study, Kind.VERIFY, winner, winner_config).name == verification.name
    with pytest.raises(StudyError, match="'small-verify-2' verified something else"):
        open_follower(search_study, Kind.VERIFY, winner, dataclasses.replace(winner_config, lr=0.5))


# The record


def plan(
    verification: StoredStudy, results: Path, first_seed: int | None, num_seeds: int, *, chosen_by: str = "the best"
) -> range:
    """Asks for a proof, as `verify-best` does."""
    return plan_proof(
        verification,
        results,
        first_seed=first_seed,
        num_seeds=num_seeds,
        target=Decimal("99.4"),
        chosen_by=chosen_by,
    )


Prove = Callable[[StoredStudy, range], Proof]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The folder of results."""
    return tmp_path / "results"


@pytest.fixture
def runner_up(search_study: StoredStudy, the_space: Space) -> StoredStudy:
    """The study that verifies trial 0; still empty."""
    choice = choose_trial(search_study, 0)
    return open_follower(search_study, Kind.VERIFY, choice, rebuild_config(search_study, choice.trial, the_space))


@pytest.fixture
def prove(winner_config: TrialConfig, results: Path) -> Prove:
    """Makes the record of a proof as `verify-best` does, of seeds that have 60 errors each."""

    def prove(verification: StoredStudy, seeds: range) -> Proof:
        seeds = plan(verification, results, seeds.start, len(seeds))
        measured = {trial.params["seed"] for trial in verification.trials()}
        for seed in sorted(set(seeds) - measured):
            add_seed(verification, seed)
        ledger = read_ledger(verification.storage, results)
        return make_proof(verification, seeds, winner_config, ledger=ledger, model_path=results / "nowhere.safetensors")

    return prove


def test_a_record_pools_all_seeds_of_its_configuration(prove: Prove, verification: StoredStudy, results: Path) -> None:
    first = prove(verification, range(10_000, 10_002))
    second = prove(verification, range(20_000, 20_003))
    assert [row.seed for row in first.seeds] == [10_000, 10_001]
    assert [row.seed for row in second.seeds] == [10_000, 10_001, 20_000, 20_001, 20_002]
    assert (first.attempts, second.attempts, second.earlier_attempts) == (1, 1, ())
    assert (second.num_planned, second.first_seed, second.num_unmeasured) == (5, 20_000, 0)
    assert second.pass_share_lower95 > first.pass_share_lower95


def test_a_record_carries_what_the_records_that_it_replaces_knew(
    prove: Prove, verification: StoredStudy, results: Path
) -> None:
    first = prove(verification, range(10_000, 10_002))
    path = results / "small" / "verify.json"
    first.write(path)
    (results / "small" / LEDGER_FILE).unlink()
    forget(verification)
    assert read_ledger(verification.storage, results).tested(first.subject) == first.tested[0]
    other = dataclasses.replace(first.config, lr=0.5)
    changed(first, config=other, trial=7, study_name="gone", earlier_attempts=first.tested).write(path)
    found = read_ledger(verification.storage, results)
    assert {tested.trial for tested in found.attempts("sample")} == {2, 7}
    assert found.tested(first.subject) == first.tested[0]


def test_a_proof_that_was_not_finished_counts_and_a_record_carries_it(
    prove: Prove, verification: StoredStudy, runner_up: StoredStudy, results: Path
) -> None:
    plan(runner_up, results, 10_000, 5)
    [row] = prove(verification, range(11_000, 11_001)).earlier_attempts
    assert (row.trial, row.num_planned, row.num_passed, row.seeds) == (0, 5, 0, ())
    assert (row.min, row.mean) == (None, None)
    add_seed(runner_up, 10_002)  # what was seen of it counts
    [row] = prove(verification, range(11_000, 11_001)).earlier_attempts
    assert (len(row.seeds), row.min, row.mean, row.num_passed) == (1, 99.4, 99.4, 1)


def test_the_rule_of_a_proof_is_that_of_its_first_command(
    prove: Prove, verification: StoredStudy, results: Path
) -> None:
    plan(verification, results, 10_000, 1, chosen_by="the winner")
    plan(verification, results, 20_000, 1, chosen_by="another")
    assert prove(verification, range(10_000, 10_002)).chosen_by == "the winner"
    assert prove(verification, range(20_000, 20_002)).chosen_by == "another"


def test_what_was_measured_on_another_machine_counts(prove: Prove, verification: StoredStudy, results: Path) -> None:
    here = prove(verification, range(10_000, 10_002))
    row = here.seeds[0]
    worse = row.model_copy(update={"errors": 61, "errors_one_view": 72, "test_accuracy": 99.39})
    changed(here, seeds=(worse, here.seeds[1]), device="cuda").write(results / "copied" / "verify.json")
    again = prove(verification, range(10_000, 10_002))
    assert [row.errors for row in again.seeds] == [61, 60]
    assert [[each.errors for each in row.others] for row in again.seeds] == [[60], []]
    assert (again.num_passed, again.device) == (1, "cpu, cuda")


# Another command at work at the same time


@dataclass(frozen=True)
class BusyScreen:
    """As soon as an attempt is planned, another command does something."""

    meanwhile: Callable[[], None]

    def say(self, message: str) -> None:
        if message.startswith("Verifying"):
            self.meanwhile()

    def warn(self, message: str) -> None:
        pass

    def watch(self, work: Work) -> contextlib.AbstractContextManager[Callable[[], None]]:
        return contextlib.nullcontext(lambda: None)


@pytest.fixture
def two_seeds(storage_url: str, tmp_path: Path) -> VerifySettings:
    return VerifySettings(storage=storage_url, results_dir=tmp_path / "results", data_dir=tmp_path, workers=0, seeds=2)


def test_what_another_command_has_measured_meanwhile_counts(
    verification: StoredStudy, two_seeds: VerifySettings, the_space: Space
) -> None:
    add_seed(verification, 10_000)
    add_seed(verification, 10_001)

    def extend() -> None:
        plan(verification, two_seeds.results_dir, 10_000, 4)
        add_seed(verification, 10_002)
        add_seed(verification, 10_003)

    proof = run_verification(two_seeds, the_space, BusyScreen(extend)).record
    assert proof is not None
    assert [row.seed for row in proof.seeds] == [10_000, 10_001, 10_002, 10_003]
    assert Proof.read(two_seeds.results_dir / "small" / "verify.json") == proof


def test_a_gap_that_another_command_fills_is_told(
    verification: StoredStudy, two_seeds: VerifySettings, the_space: Space
) -> None:
    add_seed(verification, 10_000)
    add_seed(verification, 10_001)

    def begin_to_extend() -> None:
        plan(verification, two_seeds.results_dir, 10_000, 4)
        add_seed(verification, 10_002, TrialState.RUNNING, errors=None)
        add_seed(verification, 10_003, errors=61)

    proof = run_verification(two_seeds, the_space, BusyScreen(begin_to_extend)).record
    assert proof is not None
    assert [row.errors for row in proof.seeds] == [60, 60, 61]
    assert (proof.num_planned, proof.num_unmeasured) == (4, 1)


def test_an_attempt_that_another_command_has_recorded_meanwhile_is_not_lost(
    verification: StoredStudy, two_seeds: VerifySettings, the_space: Space
) -> None:
    add_seed(verification, 10_000)
    add_seed(verification, 10_001)
    path = two_seeds.results_dir / "small" / "verify.json"
    other = proof_of([9], first_seed=30_000, **ON_THE_SAMPLE)
    proof = run_verification(two_seeds, the_space, BusyScreen(lambda: other.write(path))).record
    assert proof is not None
    assert proof.earlier_attempts == (other.tested[0],)


def test_a_miss_that_another_command_has_recorded_meanwhile_is_not_lost(
    verification: StoredStudy, two_seeds: VerifySettings, the_space: Space, results: Path
) -> None:
    add_seed(verification, 10_000)
    add_seed(verification, 10_001)
    subject = describe(verification.facts)["subject"]
    seen = make_tested(subject=subject, asked=(), seeds=(measure(30_000, 70, command="reproduce"),))

    def see() -> None:
        for entry in entries_of(seen):
            append_line(results / "small-reproduce-2-0123" / LEDGER_FILE, entry.model_dump_json())

    proof = run_verification(two_seeds, the_space, BusyScreen(see)).record
    assert proof is not None
    assert [row.errors for row in proof.seeds] == [60, 60, 70]


# What is measured


def test_measured_seeds_come_in_the_order_of_the_plan(verification: StoredStudy) -> None:
    for seed in (10_002, 10_000, 10_003, 10_001):
        add_seed(verification, seed)
    measured = measured_seeds(verification, range(10_000, 10_003))
    assert [run.seed for run in measured] == [10_000, 10_001, 10_002]
    assert {(run.accuracy, run.accuracy_one_view) for run in measured} == {(99.4, 99.3)}


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.FAIL])
def test_no_verdict_leaves_out_a_seed_of_its_plan(state: TrialState, verification: StoredStudy) -> None:
    for seed in (10_000, 10_001, 10_003):
        add_seed(verification, seed)
    add_seed(verification, 10_002, state, errors=None)
    with pytest.raises(StudyError, match="Another command is at work on some of these seeds"):
        measured_seeds(verification, range(10_000, 10_004))


def test_the_record_names_what_the_seeds_were_trained_with_not_what_came_later(
    verification: StoredStudy, prove: Callable[..., Proof], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (10_000, 10_001):
        add_seed(verification, seed)
    later = Environment(commit="4567def", versions={"python": "3.15.0", "torch": "3.0.0"})
    monkeypatch.setattr("search.studies.study.code_commit", lambda: later.commit)
    monkeypatch.setattr("search.studies.study.versions", lambda: later.versions)
    verification.record_use()  # the same command again, after an update: all is measured, nothing is trained
    assert verification.facts.continued_with == (later,)
    proof = prove(verification, range(10_000, 10_002))
    assert {"commit": proof.commit, "versions": proof.versions} == TRAINED_WITH


def test_seeds_trained_in_several_environments_name_them_all() -> None:
    def measure(**environment: Any) -> Measured:
        counted = {"errors": 60, "errors_one_view": 70, "num_views": 27, "num_images": 10_000}
        return Measured.of(optuna.trial.create_trial(value=99.4, user_attrs=counted | environment))

    older = {"commit": "0123abc", "device": "cpu", "precision": "fp32", "versions": {"python": "3.12", "torch": "2.14"}}
    newer = {
        "commit": "4567def",
        "device": "cuda",
        "precision": "fp32",
        "versions": {"python": "3.12", "torch": "2.15"},
    }
    found = made_with([measure(**newer), measure(**older), measure(**newer)])
    assert (found.commit, found.device, found.precision) == ("0123abc, 4567def", "cpu, cuda", "fp32")
    assert found.versions == {"python": "3.12", "torch": "2.14, 2.15"}


# Training


@pytest.fixture
def task(winner_config: TrialConfig, tmp_path: Path) -> SeedTask:
    return SeedTask(
        test=FinalTest(dataset="sample", data_dir=tmp_path, precision="fp32", epochs=EPOCHS),
        config=winner_config,
        study_name="small-verify-2",
        folder=tmp_path / "results",
        kept_seed=10_000,
        model_path=tmp_path / "results" / "seed.safetensors",
    )


class Train(Protocol):
    def __call__(self, task: SeedTask, *seeds: int, should_stop: ShouldStop = ...) -> list[FrozenTrial]: ...


@pytest.fixture
def test_digits(final_splits: tuple[Split, Split]) -> Split:
    return final_splits[1].select(torch.arange(0, 1_000, 10))


@pytest.fixture
def train_seeds(verification: StoredStudy, few_digits: Split, test_digits: Split, cpu: Runtime, code: Code) -> Train:
    """Trains seeds as a worker does, on few digits; returns their trials."""
    resources = FinalResources(training=few_digits, test=test_digits, runtime=cpu)
    code = dataclasses.replace(code, commit="0123abc")

    def train(task: SeedTask, *seeds: int, should_stop: ShouldStop = lambda: False) -> list[FrozenTrial]:
        stored = StoredStudy.load(verification.storage, verification.name)
        plan = GivenPlan(runs=tuple({"seed": seed} for seed in seeds))
        return work_off(stored, plan, task, resources, code, should_stop)

    return train


def test_the_test_digits_are_evaluated_once_per_seed_after_the_last_epoch(
    task: SeedTask,
    verification: StoredStudy,
    train_seeds: Train,
    test_digits: Split,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def watched_predict(model: TinyCNN, split: Split, runtime: Runtime, crops: Crops) -> torch.Tensor:
        running = verification.trials((TrialState.RUNNING,))[-1]
        calls.append((split is test_digits, TrialFacts.of(running).epochs, crops))
        return predict(model, split, runtime, crops)

    monkeypatch.setattr(testing, "predict", watched_predict)
    [trial] = train_seeds(task, 10_000)
    assert calls == [(True, EPOCHS, ALL_CROPS), (True, EPOCHS, CENTRE)]  # and the latter for the record alone
    assert TrialFacts.of(trial).errors == 100 - (trial.value or 0)
    assert trial.state == TrialState.COMPLETE
    assert trial.intermediate_values == {}


def test_a_seed_leaves_a_complete_record(task: SeedTask, train_seeds: Train) -> None:
    [trial] = train_seeds(task, 10_000)
    facts = TrialFacts.of(trial)
    assert trial.params == {"seed": 10_000}
    assert facts.errors is not None
    assert trial.value == pytest.approx(100 - facts.errors)
    assert (facts.num_images, facts.num_views) == (100, len(ALL_CROPS))
    assert (facts.epochs, facts.device, facts.precision) == (EPOCHS, "cpu", "fp32")
    assert (facts.commit, facts.versions) == ("0123abc", versions())


def test_a_seed_is_on_record_in_the_database_and_in_a_file(
    task: SeedTask, verification: StoredStudy, train_seeds: Train
) -> None:
    [trial] = train_seeds(task, 10_000)
    [entry] = parse_lines((task.folder / LEDGER_FILE).read_bytes(), "here")
    assert isinstance(entry, Look)
    errors = TrialFacts.of(trial).errors
    assert (entry.seed, entry.outcome.command, entry.outcome.errors) == (10_000, "verify-best", errors)
    assert (entry.study_name, entry.trial, entry.num_images) == ("small", 2, 100)
    assert entry.environment.commit == "0123abc"
    assert entry.time.endswith("+00:00")
    assert entry.subject == describe(verification.facts)["subject"]
    assert read_lines(verification.storage) == [(entry.id, entry.model_dump_json())]
    # The study knows it by itself as well, and it is one look.
    assert len(read_ledger(verification.storage, task.folder.parent).entries) == 1


def test_a_seed_is_on_record_though_its_worker_is_killed_before_it_counts(
    task: SeedTask, verification: StoredStudy, train_seeds: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(*_: Any, **__: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(optuna.Study, "tell", tell)
    with pytest.raises(SystemExit):
        train_seeds(task, 10_000)
    [trial] = verification.trials()
    assert trial.state == TrialState.RUNNING
    [in_the_file] = parse_lines((task.folder / LEDGER_FILE).read_bytes(), "here")
    [of_the_study] = read_ledger(verification.storage, NOWHERE).entries
    assert in_the_file.id == of_the_study.id


def test_the_model_of_the_first_seed_is_kept(
    task: SeedTask, train_seeds: Train, test_digits: Split, cpu: Runtime
) -> None:
    path = task.model_path
    assert path is not None
    [first] = train_seeds(task, 10_000)
    kept = path.read_bytes()
    [second] = train_seeds(task, 10_001)
    assert second.params == {"seed": 10_001}
    assert path.read_bytes() == kept
    assert evaluate(load_model(path), test_digits, cpu, ALL_CROPS).errors == TrialFacts.of(first).errors
    origin = ModelOrigin.model_validate_json(read_origin(path))
    assert (origin.seed, origin.test_accuracy) == (10_000, first.value)
    assert (origin.study_name, origin.config, origin.epochs) == ("small-verify-2", task.config, EPOCHS)
    assert (origin.commit, origin.versions) == ("0123abc", versions())


def test_a_seed_whose_model_nobody_wants_leaves_none(task: SeedTask, train_seeds: Train, tmp_path: Path) -> None:
    [trial] = train_seeds(dataclasses.replace(task, kept_seed=None, model_path=None), 10_000)
    assert trial.state == TrialState.COMPLETE
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_seeds_differ_and_each_repeats(
    task: SeedTask,
    search_study: StoredStudy,
    winner: Choice,
    winner_config: TrialConfig,
    verification: StoredStudy,
    train_seeds: Train,
) -> None:
    first, second = (TrialFacts.of(trial).train_loss for trial in train_seeds(task, 10_000, 10_001))
    optuna.delete_study(storage=verification.storage, study_name=verification.name)
    open_follower(search_study, Kind.VERIFY, winner, winner_config)
    [repeated] = train_seeds(task, 10_000)
    assert first != second
    assert first == TrialFacts.of(repeated).train_loss


def test_an_interrupted_seed_is_not_measured_and_is_tried_again(task: SeedTask, train_seeds: Train) -> None:
    [interrupted] = train_seeds(task, 10_000, 10_001, should_stop=after_an_epoch())
    assert interrupted.state == TrialState.FAIL
    facts = TrialFacts.of(interrupted)
    assert (facts.epochs, facts.errors, facts.fail_reason) == (1, None, None)
    assert task.model_path is not None
    assert not task.model_path.exists()
    again, other = train_seeds(task, 10_000, 10_001)
    assert again.params == interrupted.params == {"seed": 10_000}
    assert TrialFacts.of(again).retry_of == interrupted.number
    assert (again.state, other.params) == (TrialState.COMPLETE, {"seed": 10_001})


def test_a_seed_that_diverges_is_measured_as_a_miss(
    task: SeedTask, verification: StoredStudy, winner_config: TrialConfig, train_seeds: Train
) -> None:
    plan(verification, task.folder, 10_000, 2)
    diverging = dataclasses.replace(task, config=dataclasses.replace(winner_config, lr=1e38))
    [diverged] = train_seeds(diverging, 10_000)
    assert (diverged.state, diverged.value) == (TrialState.COMPLETE, 0.0)
    facts = TrialFacts.of(diverged)
    assert (facts.errors, facts.num_images) == (100, 100)
    assert task.model_path is not None
    assert not task.model_path.exists()
    # It is done: the next one is the next seed, and the record counts both.
    [following] = train_seeds(task, 10_000, 10_001)
    assert following.params == {"seed": 10_001}
    proof = record_of(verification, range(10_000, 10_002), task)
    row = proof.seeds[0]
    assert (row.seed, row.test_accuracy, row.errors, row.errors_one_view) == (10_000, 0.0, 100, 100)
    assert proof.num_passed < len(proof.seeds) == 2
    assert proof.model is None  # that of the first seed is none


def record_of(
    verification: StoredStudy, seeds: range, task: SeedTask, warn: Callable[[str], None] = lambda _message: None
) -> Proof:
    assert task.model_path is not None
    ledger = read_ledger(verification.storage, NOWHERE)
    return make_proof(verification, seeds, task.config, ledger=ledger, model_path=task.model_path, warn=warn)


def test_measured_seeds_make_the_record(
    task: SeedTask, verification: StoredStudy, search_study: StoredStudy, train_seeds: Train
) -> None:
    seeds = plan(verification, task.folder, 10_000, 2)
    trials = train_seeds(task, *seeds)
    proof = record_of(verification, seeds, task)
    assert [row.errors for row in proof.seeds] == [TrialFacts.of(trial).errors for trial in trials]
    assert [row.test_accuracy for row in proof.seeds] == [trial.value for trial in trials]
    assert (proof.study_name, proof.trial, proof.chosen_by, proof.dataset) == ("small", 2, "the best", "sample")
    assert (proof.config, proof.epochs, proof.space) == (task.config, 4, search_study.binding.space)
    assert (proof.num_images, proof.num_planned, proof.judged, proof.confirmed) == (100, 2, False, None)
    assert Proof.model_validate_json(proof.to_json()) == proof


@pytest.mark.page
def test_answers_are_on_record_one_by_one(
    task: SeedTask, verification: StoredStudy, train_seeds: Train, test_digits: Split, cpu: Runtime
) -> None:
    seeds = plan(verification, task.folder, 10_000, 2)
    train_seeds(task, *seeds)
    proof = record_of(verification, seeds, task)
    answers = make_answers(verification, proof, test_digits.labels)
    assert [len(row.misses) for row in answers.seeds] == [row.errors for row in proof.seeds]
    assert [row.seed for row in answers.seeds] == list(seeds)
    assert task.model_path is not None
    probabilities = predict(load_model(task.model_path), test_digits, cpu, ALL_CROPS).softmax(dim=1)
    sure, found = probabilities.max(dim=1)
    wrong = (found != test_digits.labels).nonzero().flatten().tolist()
    first = answers.seeds[0]
    assert [miss.place for miss in first.misses] == wrong
    for miss in first.misses:
        assert (miss.label, miss.answer) == (int(test_digits.labels[miss.place]), int(found[miss.place]))
        assert miss.probability == pytest.approx(float(sure[miss.place]), abs=1e-4)
        assert miss.of_label == pytest.approx(float(probabilities[miss.place, miss.label]), abs=1e-4)
    assert sum(each.num * each.probability for each in first.bins) == pytest.approx(float(sure.sum()), abs=0.01)
    for edge, below in zip(answers.edges, itertools.accumulate(each.num for each in first.bins), strict=False):
        assert below == int((sure < edge).sum())


def test_a_seed_that_diverged_has_no_answers(
    task: SeedTask, verification: StoredStudy, winner_config: TrialConfig, train_seeds: Train, test_digits: Split
) -> None:
    seeds = plan(verification, task.folder, 10_000, 1)
    train_seeds(dataclasses.replace(task, config=dataclasses.replace(winner_config, lr=1e38)), *seeds)
    proof = record_of(verification, seeds, task)
    answers = make_answers(verification, proof, test_digits.labels)
    assert (answers.seeds, answers.calibration_error, answers.bins) == ((), None, ())


def test_the_kept_model_is_named_only_if_it_is_of_this_very_run(
    task: SeedTask, verification: StoredStudy, train_seeds: Train
) -> None:
    seeds = plan(verification, task.folder, 10_000, 1)
    [trial] = train_seeds(task, *seeds)
    path = task.model_path
    assert path is not None
    assert record_of(verification, seeds, task).model == KeptModel(
        file="seed.safetensors",
        seed=10_000,
        errors=TrialFacts.of(trial).errors or 0,
        errors_one_view=TrialFacts.of(trial).errors_one_view or 0,
    )
    origin = ModelOrigin.model_validate_json(read_origin(path))
    others: tuple[dict[str, Any], ...] = (
        {"test_accuracy": (trial.value or 0) + 1},
        {"commit": "another"},
        {"seed": 10_001},
        {"config": dataclasses.replace(task.config, lr=0.5)},
    )
    for other in others:
        changed_origin = origin.model_copy(update=other).model_dump_json()
        save_model(path, load_model(path), task.config.model, changed_origin)
        assert record_of(verification, seeds, task).model is None, other
    for not_an_origin in ("{}", "null", "not JSON"):
        save_model(path, load_model(path), task.config.model, not_an_origin)
        assert record_of(verification, seeds, task).model is None, not_an_origin
    path.write_bytes(b"damaged")
    told: list[str] = []
    assert record_of(verification, seeds, task, told.append).model is None
    path.unlink()
    assert record_of(verification, seeds, task, told.append).model is None
    [warning] = told  # one that is absent may be elsewhere
    assert warning.startswith(f"{path} is not a model saved by this version of the tool (")
    assert warning.endswith("). Restore it. The record then names it.")


# The command: what cannot be verified


@pytest.mark.parametrize(("number", "words"), [("1", "pruned"), ("3", "fail"), ("4", "running"), ("99", "no trial 99")])
def test_only_a_complete_trial_is_verified(
    number: str, words: str, search_study: StoredStudy, places: list[str]
) -> None:
    assert_refused(run("verify-best", "--trial", number, *places), 1, words)
    assert optuna.get_all_study_names(search_study.storage) == ["small"]


def test_the_winner_of_an_edited_space_is_not_verified(search_study: StoredStudy, places: list[str]) -> None:
    StudyFacts(space="0123").write(search_study.study)
    assert_refused(run("verify-best", *places), 1, "space.py is not the search space")
    assert optuna.get_all_study_names(search_study.storage) == ["small"]


def test_a_study_of_other_images_is_not_verified(search_study: StoredStudy, places: list[str]) -> None:
    StudyFacts(split="0123456789abcdef").write(search_study.study)
    assert_refused(run("verify-best", *places), 1, "The training images of sample are not those that study 'small'")
    assert_refused(run("ablate", *places), 1, "The training images of sample are not those that study 'small'")
    assert optuna.get_all_study_names(search_study.storage) == ["small"]


@pytest.mark.usefixtures("no_mirror")
def test_missing_test_digits_are_told_before_a_verification_starts(
    search_study: StoredStudy, places: list[str]
) -> None:
    StudyFacts(dataset="mnist").write(search_study.study)
    assert_refused(run("verify-best", *places), 1, "--data-dir")
    assert optuna.get_all_study_names(search_study.storage) == ["small"]


@pytest.mark.full
def test_damaged_test_digits_are_told_before_a_verification_starts(
    search_study: StoredStudy, places: list[str], tmp_path: Path, mnist_dir: Path
) -> None:
    StudyFacts(dataset="mnist").write(search_study.study)
    shutil.copytree(mnist_dir / "MNIST" / "raw", tmp_path / "data" / "MNIST" / "raw", copy_function=os.symlink)
    source = DATASETS["mnist"].source
    assert isinstance(source, IdxFiles)
    damaged = tmp_path / "data" / "MNIST" / "raw" / next(iter(source.test))
    damaged.unlink()
    damaged.write_bytes(b"damaged")
    assert_refused(run("verify-best", *places), 1, "is damaged", str(damaged))
    assert optuna.get_all_study_names(search_study.storage) == ["small"]


# The command: a verdict on complete test images, of seeds that are on record


RecordSeeds = Callable[..., None]


@pytest.fixture
def record_seeds(search_study: StoredStudy, the_space: Space, monkeypatch: pytest.MonkeyPatch) -> RecordSeeds:
    """Makes a search on a judged data set of the study, whose winner made so many errors with seeds 10,000 onward."""
    monkeypatch.setitem(
        DATASETS, "digits", dataclasses.replace(DATASETS["sample"], name="digits", judged=True, target=Decimal("99.3"))
    )

    def add_seeds(*errors: int, first_seed: int = 10_000) -> None:
        StudyFacts(dataset="digits").write(search_study.study)
        winner = choose_trial(search_study, None)
        config = rebuild_config(search_study, winner.trial, the_space)
        verification = open_follower(search_study, Kind.VERIFY, winner, config)
        for seed, number in enumerate(errors, start=first_seed):
            add_seed(verification, seed, errors=number)

    return add_seeds


@pytest.mark.parametrize(
    ("errors", "target", "code", "sentence"),
    [
        ([60, 60, 60, 60, 60], "99.4", 0, "CONFIRMED: every one of 5 fresh seeds reaches 99.4 %"),
        ([60, 60, 61, 60, 60], "99.4", 3, "NOT CONFIRMED: 1 of 5 fresh seeds miss 99.4 %"),
        pytest.param(
            [60, 60, 61, 60, 60],
            "99.39",
            0,
            "CONFIRMED: every one of 5 fresh seeds reaches 99.39 %",
            marks=pytest.mark.slow,
        ),
        pytest.param([10, 10, 10, 10, 10_000], "99.4", 3, "NOT CONFIRMED: 1 of 5", marks=pytest.mark.slow),  # diverged
        ([70, 70, 70, 70, 70], None, 0, "CONFIRMED: every one of 5 fresh seeds reaches 99.3 %"),  # the data set's
    ],
)
def test_a_verification_ends_with_3_unless_every_seed_reaches_the_target(
    errors: list[int],
    target: str | None,
    code: int,
    sentence: str,
    record_seeds: RecordSeeds,
    places: list[str],
    tmp_path: Path,
) -> None:
    record_seeds(*errors)
    result = run("verify-best", *(["--target", target] if target is not None else []), *places)
    assert result.exit_code == code, result.stderr
    assert result.stdout.splitlines()[-1].startswith(sentence)  # piped, a sentence is one line
    proof = Proof.read(tmp_path / "results" / "small" / "verify.json")
    assert proof.confirmed is (code == 0)
    assert [row.errors for row in proof.seeds] == errors


def test_in_json_the_record_is_printed_and_quietly_nothing_and_again_is_no_other_attempt(
    record_seeds: RecordSeeds, places: list[str], tmp_path: Path
) -> None:
    record_seeds(60, 61)
    command = ["verify-best", "--seeds", "2", "--target", "99.4", *places]
    first, again = run(*command, "--json"), run(*command, "--quiet")
    assert (first.exit_code, again.exit_code, again.stdout) == (3, 3, "")
    values = json.loads(first.stdout)
    assert (values["confirmed"], values["attempts"]) == (False, 1)
    path = tmp_path / "results" / "small" / "verify.json"
    assert Proof.read(path).attempts == 1
    assert run(*command, "--json").stdout == path.read_text(encoding="utf-8")


def test_fewer_seeds_do_not_leave_out_one_that_missed(record_seeds: RecordSeeds, places: list[str]) -> None:
    record_seeds(60, 60, 60, 60, 71)
    assert run("verify-best", *places).exit_code == 3
    result = run("verify-best", "--seeds", "2", "--quiet", *places)
    assert result.exit_code == 3
    assert "the first 5 seeds count, not 2" in result.stderr
    picked = run("verify-best", "--first-seed", "10001", "--seeds", "2", "--json", *places)
    assert picked.exit_code == 3
    assert [row["errors"] for row in json.loads(picked.stdout)["seeds"]] == [60, 60, 60, 60, 71]


def test_a_trial_that_is_asked_for_does_not_replace_the_record_of_the_winner(
    record_seeds: RecordSeeds, places: list[str], tmp_path: Path
) -> None:
    record_seeds(60)
    assert run("verify-best", "--seeds", "1", *places).exit_code == 0
    folder = tmp_path / "results" / "small"
    own = ("verify.json", "verify.md", "answers.json", "misses.png")
    before = {name: (folder / name).read_bytes() for name in own}
    assert run("verify-best", "--seeds", "1", "--trial", "2", "--target", "99.5", *places).exit_code == 3
    assert {name: (folder / name).read_bytes() for name in own} == before
    assert {"verify-2.json", "verify-2.md", "answers-2.json", "misses-2.png"} <= {
        each.name for each in folder.iterdir()
    }
    asked = Proof.read(folder / "verify-2.json")
    assert (asked.trial, asked.target) == (2, 99.5)
    assert asked.attempts == 1  # the same seeds of the same trial
    assert (folder / "verify-2.md").read_text(encoding="utf-8").startswith("# NOT CONFIRMED")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("{", "is damaged", marks=pytest.mark.slow),
        pytest.param("{}", "move it away", marks=pytest.mark.slow),
        ('{"schema_version": 1}', "move it away"),
        ('{"schema_version": 2, "seeds": []}', "is damaged"),
    ],
)
def test_a_damaged_record_is_not_replaced(
    content: str, words: str, record_seeds: RecordSeeds, places: list[str], tmp_path: Path
) -> None:
    record_seeds(60)
    path = tmp_path / "results" / "small" / "verify.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert_refused(run("verify-best", "--seeds", "1", *places), 1, str(path), words)
    assert path.read_text() == content


def test_a_new_database_does_not_forget_an_attempt(
    record_seeds: RecordSeeds, search_study: StoredStudy, places: list[str], tmp_path: Path
) -> None:
    record_seeds(71)
    assert run("verify-best", "--seeds", "1", *places).exit_code == 3
    folder = tmp_path / "results" / "small"
    record = Proof.read(folder / "verify.json")
    forget(search_study)
    (folder / LEDGER_FILE).unlink()
    other = changed(record, config=dataclasses.replace(record.config, lr=0.5), trial=7)  # of a study that is gone
    other.write(folder / "verify.json")
    assert_refused(run("verify-best", "--first-seed", "10000", *places), 1, "are not all fresh")
    delete_studies(search_study.storage, ["small-verify-2"])
    record_seeds(60, first_seed=11_000)
    proof = Proof.model_validate_json(run("verify-best", "--seeds", "1", "--json", *places).stdout)
    assert (proof.attempts, proof.confirmed) == (2, True)
    assert [(row.trial, row.num_planned, row.num_passed) for row in proof.earlier_attempts] == [(7, 1, 0)]


def forget(stored: StoredStudy) -> None:
    """Loses what the database knows of proofs."""
    delete_studies(stored.storage, ["small-verify-2"])
    with stored.storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE tiny_search_ledger"))


LOSSES: dict[str, Callable[[StoredStudy, Path], None]] = {
    "nothing": lambda *_: None,
    "the study": lambda search, _: delete_studies(search.storage, ["small-verify-2"]),
    "the database": lambda search, _: forget(search),
    "the files": lambda _, folder: shutil.rmtree(folder),
}


@pytest.mark.parametrize(
    "lost",
    [pytest.param(lost, marks=[pytest.mark.slow] if lost in ("nothing", "the files") else []) for lost in LOSSES],
)
def test_new_seeds_do_not_undo_a_seed_that_missed(
    lost: str, record_seeds: RecordSeeds, search_study: StoredStudy, places: list[str], tmp_path: Path
) -> None:
    record_seeds(71)
    assert run("verify-best", "--seeds", "1", *places).exit_code == 3
    LOSSES[lost](search_study, tmp_path / "results" / "small")
    record_seeds(60, first_seed=20_000)
    result = run("verify-best", "--first-seed", "20000", "--seeds", "1", *places)
    assert result.exit_code == 3
    assert result.stdout.splitlines()[-1].startswith("NOT CONFIRMED: 1 of 2 fresh seeds miss 99.3 %")


def test_a_bar_is_not_lowered(record_seeds: RecordSeeds, places: list[str]) -> None:
    record_seeds(60)
    assert run("verify-best", "--seeds", "1", "--target", "99.5", *places).exit_code == 3
    result = run("verify-best", "--seeds", "1", "--target", "99.4", "--json", *places)
    assert result.exit_code == 3
    values = json.loads(result.stdout)
    assert (values["target"], values["confirmed"]) == (99.5, False)
    assert [asked["target"] for asked in values["asked"]] == [99.5, 99.4]
    told = run("verify-best", "--seeds", "1", "--target", "99.4", *places).stdout
    assert "99.4 % was asked for, but 99.5 % before, and a bar is not lowered." in told


def test_an_interrupted_extension_that_missed_counts(
    record_seeds: RecordSeeds, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record_seeds(60, 60, 60, 60, 60)
    assert run("verify-best", "--seeds", "5", *places).exit_code == 0
    record_seeds(60, 60, 71, first_seed=10_005)
    monkeypatch.setattr("search.runs.session.in_processes", lambda *_, **__: True)  # as after Ctrl-C
    assert run("verify-best", "--seeds", "20", *places).exit_code == 130
    record_seeds(60, 60, 60, 60, 60, first_seed=20_000)
    result = run("verify-best", "--first-seed", "20000", "--seeds", "5", "--json", *places)
    assert result.exit_code == 3
    values = json.loads(result.stdout)
    assert (values["num_passed"], len(values["seeds"]), values["num_planned"]) == (12, 13, 25)


def test_what_is_proved_counts_the_seeds_of_every_command(
    record_seeds: RecordSeeds, search_study: StoredStudy, places: list[str], tmp_path: Path
) -> None:
    record_seeds(60)
    assert run("verify-best", "--seeds", "1", *places).exit_code == 0
    proof = Proof.read(tmp_path / "results" / "small" / "verify.json")
    add_seed(open_reproduction_study(search_study.storage, proof), 50_000, errors=71)
    result = run("verify-best", "--seeds", "1", *places)
    assert result.exit_code == 3
    assert "Measured by ablate or reproduce: seed 50000 (n = 1). Every measured seed counts." in result.stdout
    assert result.stdout.splitlines()[-1].startswith("NOT CONFIRMED: 1 of 2 fresh seeds miss")
