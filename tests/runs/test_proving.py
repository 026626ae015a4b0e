"""Proofs: which trial, which seeds, what is measured, and what the record says."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import optuna
import pytest
import torch
from commands import assert_refused, run
from evidence import CONFIG, ON_THE_SAMPLE, OTHER_ATTEMPT, changed
from evidence import make_proof as proof_of
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from recording import TRAINED_WITH, add_runs, add_seed
from search.proof.attempts import SeedsError, attempts_of
from training import EPOCHS, after_an_epoch, work_off

from search.config import TrialConfig
from search.net.crops import ALL_CROPS, CENTRE, Crops
from search.net.data import Split
from search.net.datasets import DATASETS, IdxFiles
from search.net.device import Runtime
from search.net.model import TinyCNN
from search.net.model_file import load_model, read_origin, save_model
from search.net.train import Evaluation, evaluate
from search.proof.records import Attempt, KeptModel, Look, ModelOrigin, Proof, RecordError
from search.provenance import Code, versions
from search.runs import testing
from search.runs.following import open_follower
from search.runs.history import other_looks, plan_attempt, read_history, stored_attempts, subject_of
from search.runs.proving import make_proof, run_verification
from search.runs.reranking import open_rerank_study
from search.runs.seeds import SeedTask, seeds_plan
from search.runs.standings import leading_trials
from search.runs.testing import FinalResources, FinalTest, Measured, made_with, measured_seeds
from search.runs.winner import Choice, choose_trial, rebuild_config
from search.settings import REFERENCE_FOLDER, VerifySettings
from search.show.screen import Work
from search.studies.facts import Environment, StudyFacts, TrialFacts
from search.studies.job import ShouldStop
from search.studies.kinds import Kind
from search.studies.plan import GivenPlan
from search.studies.space import Space
from search.studies.study import StoredStudy, StudyError
from search.studies.tickets import keys_left

# Which trial


def test_without_a_reranking_the_best_of_the_search_is_proved(search_study: StoredStudy) -> None:
    choice = choose_trial(search_study, None)
    assert choice.trial.number == 2
    assert choice.rule == "the best of 2 single runs; not re-ranked"


def test_the_winner_of_the_reranking_is_proved_and_the_rule_is_told(search_study: StoredStudy) -> None:
    first, second = leading = leading_trials(search_study, 2)
    reranking = open_rerank_study(search_study, leading)
    add_runs(reranking, first, 98.0, 98.0)
    add_runs(reranking, second, 98.1, 98.2)
    choice = choose_trial(search_study, None)
    assert choice.trial.number == second.number
    assert choice.rule == "the best of 2 re-ranked trials (98.150 % on validation, the mean of 2 further runs)"


def test_an_unfinished_reranking_has_no_winner_but_a_trial_can_be_named(search_study: StoredStudy) -> None:
    leading = leading_trials(search_study, 2)
    reranking = open_rerank_study(search_study, leading)
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


# Attempts


@pytest.fixture
def runner_up(search_study: StoredStudy, the_space: Space) -> StoredStudy:
    """The study that verifies trial 0; still empty."""
    choice = choose_trial(search_study, 0)
    return open_follower(search_study, Kind.VERIFY, choice, rebuild_config(search_study, choice.trial, the_space))


def plan(verification: StoredStudy, first_seed: int | None, num_seeds: int, history: Sequence[Attempt] = ()) -> range:
    return plan_attempt(verification, first_seed, num_seeds, rule="the best", history=list(history))


def count(storage: RDBStorage, dataset: str = "sample") -> int:
    return len(stored_attempts(storage, dataset))


def test_an_attempt_is_a_trial_put_to_the_test_on_a_first_seed(
    searched_storage: RDBStorage, verification: StoredStudy, runner_up: StoredStudy
) -> None:
    assert count(searched_storage) == 0  # nothing is planned yet
    plan(verification, 10_000, 5)
    assert count(searched_storage) == 1
    plan(verification, 10_000, 20)  # resumed, or extended
    assert count(searched_storage) == 1
    plan(verification, 20_000, 5)
    assert count(searched_storage) == 2
    plan(runner_up, 30_000, 5)
    assert count(searched_storage) == 3
    assert count(searched_storage, "mnist") == 0


def test_an_attempt_is_on_record_before_anything_is_measured(
    search_study: StoredStudy, winner: Choice, winner_config: TrialConfig, verification: StoredStudy
) -> None:
    assert plan(verification, 10_000, 5) == range(10_000, 10_005)
    assert plan(verification, 20_000, 3) == range(20_000, 20_003)
    reopened = open_follower(search_study, Kind.VERIFY, winner, winner_config)
    assert reopened.facts.planned_seeds == {10_000: 5, 20_000: 3}


def test_an_attempt_is_extended_by_asking_for_more(verification: StoredStudy) -> None:
    plan(verification, 10_000, 5)
    for seed in range(10_000, 10_005):
        add_seed(verification, seed)
    seeds = plan(verification, 10_000, 20)
    assert seeds == range(10_000, 10_020)
    assert seeds_left(verification, seeds) == list(range(10_005, 10_020))
    assert verification.facts.planned_seeds == {10_000: 20}


def seeds_left(verification: StoredStudy, seeds: range) -> list[int]:
    runs = seeds_plan(seeds)
    return [dict(key)["seed"] for key in keys_left(verification, runs) if isinstance(key, tuple)]


def test_an_attempt_is_not_cut_down_below_what_it_measured(verification: StoredStudy) -> None:
    plan(verification, 10_000, 20)
    for seed in (10_000, 10_001, 10_002, 10_004, 10_005, 10_006):  # cut off there, while 10,003 was under way
        add_seed(verification, seed)
    seeds = plan(verification, 10_000, 5)
    assert seeds == range(10_000, 10_007)
    assert seeds_left(verification, seeds) == [10_003]
    add_seed(verification, 10_003)
    assert [run.seed for run in measured_seeds(verification, seeds)] == list(seeds)
    # Asked for once more, whatever the number, it is what it was.
    assert plan(verification, 10_000, 1) == seeds
    assert verification.facts.planned_seeds == {10_000: 20}


def test_what_was_planned_but_never_measured_may_be_given_up(verification: StoredStudy) -> None:
    plan(verification, 10_000, 20)
    add_seed(verification, 10_000)
    add_seed(verification, 10_008, TrialState.FAIL)
    assert plan(verification, 10_000, 5) == range(10_000, 10_005)


def test_an_attempt_takes_no_seed_of_another(verification: StoredStudy) -> None:
    plan(verification, 10_000, 5)
    assert plan(verification, 10_005, 10) == range(10_005, 10_015)
    assert verification.facts.planned_seeds == {10_000: 5, 10_005: 10}
    for first_seed, num_seeds in ((10_001, 2), (9_998, 3), (10_014, 1), (9_000, 9_000)):
        with pytest.raises(SeedsError, match=r"are not all fresh: .* --first-seed"):
            plan(verification, first_seed, num_seeds)
    with pytest.raises(SeedsError, match="Take fresh ones: --first-seed 11000"):
        plan(verification, 10_000, 6)  # nor may it be extended into another
    assert verification.facts.planned_seeds == {10_000: 5, 10_005: 10}  # what was refused is not on record


def test_seeds_of_another_trial_are_spent(verification: StoredStudy, runner_up: StoredStudy) -> None:
    plan(verification, 10_000, 5)
    with pytest.raises(SeedsError, match="10000 to 10004 were used before"):
        plan(runner_up, 10_000, 5)
    assert plan(runner_up, None, 5) == range(11_000, 11_005)
    assert plan(verification, None, 20) == range(10_000, 10_020)  # there is room to extend both


def test_without_a_first_seed_the_last_attempt_goes_on(verification: StoredStudy) -> None:
    assert plan(verification, None, 5) == range(10_000, 10_005)
    assert plan(verification, None, 8) == range(10_000, 10_008)
    plan(verification, 12_000, 3)
    assert plan(verification, None, 4) == range(12_000, 12_004)


def test_the_attempt_that_was_begun_last_goes_on(verification: StoredStudy) -> None:
    plan(verification, 10_000, 20)
    plan(verification, 30_000, 5)
    assert plan(verification, None, 5) == range(30_000, 30_005)
    plan(verification, 10_000, 20)
    assert plan(verification, None, 20) == range(10_000, 10_020)


def test_the_rule_of_an_attempt_is_that_of_its_first_command(verification: StoredStudy) -> None:
    plan(verification, 10_000, 1)
    plan_attempt(verification, 10_000, 2, rule="as asked for", history=[])
    assert verification.facts.rules == {10_000: "the best"}


def test_seeds_that_a_reproduction_has_shown_are_spent_for_that_configuration(
    searched_storage: RDBStorage, verification: StoredStudy, runner_up: StoredStudy
) -> None:
    shown = optuna.create_study(storage=searched_storage, study_name="small-reproduce-2", direction="maximize")
    StudyFacts(kind=Kind.REPRODUCE, config=verification.facts.config).write(shown)
    plan(verification, 10_000, 1)
    for seed in (10_000, 20_000):  # one of the record, and a fresh one
        add_seed(StoredStudy(shown, searched_storage), seed)
    add_seed(verification, 10_000)
    assert plan(verification, 10_000, 5) == range(10_000, 10_005)
    with pytest.raises(SeedsError, match="20000 to 20000 were used before"):
        plan(verification, 20_000, 5)
    assert plan(runner_up, 20_000, 5) == range(20_000, 20_005)  # another configuration


def test_what_else_has_shown_test_accuracies_is_listed(searched_storage: RDBStorage) -> None:
    for kind, num_runs in ((Kind.ABLATE, 2), (Kind.REPRODUCE, 1), (Kind.ABLATE, 0), (Kind.RERANK, 1)):
        study = optuna.create_study(storage=searched_storage, study_name=f"{kind} {num_runs}", direction="maximize")
        StudyFacts(kind=kind, dataset="sample", trial=2).write(study)
        for seed in range(num_runs):
            add_seed(StoredStudy(study, searched_storage), seed)
    assert other_looks(searched_storage, "sample") == (
        Look(study_name="ablate 2", trial=2, num_runs=2),
        Look(study_name="reproduce 1", trial=2, num_runs=1),
    )
    assert other_looks(searched_storage, "mnist") == ()


# Attempts across records


@pytest.fixture
def prove(winner_config: TrialConfig, tmp_path: Path) -> Callable[..., Proof]:
    """Makes the record of an attempt as `verify-best` does, of seeds that have 60 errors each."""

    def prove(verification: StoredStudy, seeds: range, history: Sequence[Attempt] = ()) -> Proof:
        seeds = plan(verification, seeds.start, len(seeds), history)
        measured = {trial.params["seed"] for trial in verification.trials()}
        for seed in sorted(set(seeds) - measured):
            add_seed(verification, seed)
        return make_proof(
            verification,
            seeds,
            winner_config,
            target=Decimal("99.4"),
            history=list(history),
            model_path=tmp_path / "nowhere.safetensors",
        )

    return prove


def test_a_record_carries_the_attempts_of_the_records_that_it_replaces(
    prove: Callable[..., Proof], verification: StoredStudy
) -> None:
    first = prove(verification, range(10_000, 10_002))
    second = prove(verification, range(20_000, 20_003), attempts_of(first))
    third = prove(verification, range(30_000, 30_001), attempts_of(second))
    assert (first.attempts, first.earlier_attempts) == (1, ())
    assert third.attempts == 3
    rows = third.earlier_attempts
    assert [(row.first_seed, row.num_seeds) for row in rows] == [(10_000, 2), (20_000, 3)]
    assert (rows[0].mean, rows[0].min, rows[0].commit) == (pytest.approx(99.4), 99.4, "0123abc")


def test_an_attempt_that_is_extended_is_not_its_own_predecessor(
    prove: Callable[..., Proof], verification: StoredStudy
) -> None:
    first = prove(verification, range(10_000, 10_002))
    again = prove(verification, range(10_000, 10_003), attempts_of(first))
    assert (len(again.seeds), again.attempts, again.earlier_attempts) == (3, 1, ())


def test_an_attempt_that_was_not_finished_counts_and_a_record_carries_it(
    prove: Callable[..., Proof], verification: StoredStudy, runner_up: StoredStudy
) -> None:
    plan(runner_up, 10_000, 5)
    [row] = prove(verification, range(11_000, 11_001)).earlier_attempts
    assert (row.trial, row.first_seed, row.num_seeds, row.num_passed) == (0, 10_000, 5, None)
    assert (row.num_measured, row.min, row.same_configuration) == (0, None, False)
    add_seed(runner_up, 10_002)  # what was seen of it counts
    [row] = prove(verification, range(11_000, 11_001)).earlier_attempts
    assert (row.num_measured, row.min, row.mean) == (1, 99.4, 99.4)


def test_the_same_seeds_with_other_errors_are_another_attempt(
    prove: Callable[..., Proof], verification: StoredStudy
) -> None:
    [row] = attempts_of(prove(verification, range(10_000, 10_002)))  # 60 errors each
    for errors, num_others in (((60, 60), 0), ((60,), 0), ((60, 60, 70), 0), ((61, 60), 1), ((60, 61, 60), 1)):
        elsewhere = row.model_copy(update={"errors": errors, "min": 99.39})
        proof = prove(verification, range(10_000, 10_002), [elsewhere])
        assert len(proof.earlier_attempts) == num_others
        assert all(each.same_configuration for each in proof.earlier_attempts)
        assert proof.num_failed_attempts == num_others


def test_attempts_of_a_lost_database_count_and_those_in_both_places_count_once(
    prove: Callable[..., Proof], verification: StoredStudy
) -> None:
    [row] = attempts_of(prove(verification, range(10_000, 10_002)))
    lost = row.model_copy(update={"attempt": "0123456789ab", "first_seed": 40_000})
    earlier = prove(verification, range(20_000, 20_001), [row, lost]).earlier_attempts
    assert [(each.first_seed, each.num_passed) for each in earlier] == [(10_000, 2), (40_000, 2)]


def test_seeds_of_a_lost_database_are_spent_and_an_attempt_repeated_there_is_not_cut_down(
    verification: StoredStudy,
) -> None:
    same = Attempt(attempt=subject_of(verification.facts).attempt(10_000), first_seed=10_000, num_seeds=20)
    other = Attempt(attempt="0123456789ab", first_seed=10_020, num_seeds=5)
    with pytest.raises(SeedsError, match="10020 to 10024 were used before"):
        plan(verification, 10_022, 1, [same, other])
    assert plan(verification, None, 5, [same, other]) == range(10_000, 10_020)
    assert verification.facts.planned_seeds == {10_000: 20}


def test_a_record_and_its_database_call_an_attempt_by_the_same_name(
    prove: Callable[..., Proof], verification: StoredStudy, searched_storage: RDBStorage
) -> None:
    [recorded] = attempts_of(prove(verification, range(10_000, 10_002)))
    [stored] = stored_attempts(searched_storage, "sample")
    assert (recorded.attempt, recorded.first_seed, recorded.num_seeds) == (stored.attempt, 10_000, 2)
    assert (recorded.min, recorded.mean, recorded.trial) == (stored.min, stored.mean, stored.trial)


def test_the_records_of_all_studies_on_a_data_set_are_read(tmp_path: Path) -> None:
    assert read_history(tmp_path, "mnist") == []
    other_trial = proof_of([61], first_seed=12_000, trial=2, config=dataclasses.replace(CONFIG, lr=0.03))
    proof_of([60, 58]).write(tmp_path / "small" / "verify.json")
    other_trial.write(tmp_path / "small" / "verify-2.json")
    proof_of([59], first_seed=11_000, earlier_attempts=(OTHER_ATTEMPT,)).write(tmp_path / "large" / "verify.json")
    proof_of([9], **ON_THE_SAMPLE).write(tmp_path / "quick" / "verify.json")
    proof_of([50], first_seed=13_000).write(tmp_path / REFERENCE_FOLDER / "verify.json")  # not this user's
    found = [(row.first_seed, row.num_seeds) for row in read_history(tmp_path, "mnist")]
    assert found == [(20_000, 5), (11_000, 1), (12_000, 1), (10_000, 2)]
    assert [row.first_seed for row in read_history(tmp_path, "sample")] == [10_000]


@pytest.mark.parametrize("content", ["null", "[]", "{", "7", "{}", '{"seeds": []}', '{"seeds": [{}]}', '{"seeds": 3}'])
def test_what_is_no_record_is_not_taken_for_one_without_history(content: str, tmp_path: Path) -> None:
    path = tmp_path / "small" / "verify.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(RecordError, match=re.escape(str(path))):
        read_history(tmp_path, "mnist")


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
        plan(verification, 10_000, 4)
        add_seed(verification, 10_002)
        add_seed(verification, 10_003)

    proof = run_verification(two_seeds, the_space, BusyScreen(extend)).record
    assert proof is not None
    assert [row.seed for row in proof.seeds] == [10_000, 10_001, 10_002, 10_003]
    assert Proof.read(two_seeds.results_dir / "small" / "verify.json") == proof


def test_there_is_no_verdict_while_another_command_fills_a_gap(
    verification: StoredStudy, two_seeds: VerifySettings, the_space: Space
) -> None:
    add_seed(verification, 10_000)
    add_seed(verification, 10_001)

    def begin_to_extend() -> None:
        plan(verification, 10_000, 4)
        add_seed(verification, 10_003)

    with pytest.raises(StudyError, match="Another command is at work on some of these seeds"):
        run_verification(two_seeds, the_space, BusyScreen(begin_to_extend))
    assert not (two_seeds.results_dir / "small" / "verify.json").exists()


def test_an_attempt_that_another_command_has_recorded_meanwhile_is_not_lost(
    verification: StoredStudy, two_seeds: VerifySettings, the_space: Space
) -> None:
    add_seed(verification, 10_000)
    add_seed(verification, 10_001)
    path = two_seeds.results_dir / "small" / "verify.json"
    other = proof_of([9], first_seed=30_000, **ON_THE_SAMPLE)
    proof = run_verification(two_seeds, the_space, BusyScreen(lambda: other.write(path))).record
    assert proof is not None
    assert [(row.first_seed, row.num_seeds) for row in proof.earlier_attempts] == [(30_000, 1)]


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
    add_seed(verification, 10_002, state)
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

    def watched_evaluate(model: TinyCNN, split: Split, runtime: Runtime, crops: Crops) -> Evaluation:
        running = verification.trials((TrialState.RUNNING,))[-1]
        calls.append((split is test_digits, TrialFacts.of(running).epochs, crops))
        return evaluate(model, split, runtime, crops)

    monkeypatch.setattr(testing, "evaluate", watched_evaluate)
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
    plan(verification, 10_000, 2)
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


def record_of(verification: StoredStudy, seeds: range, task: SeedTask) -> Proof:
    assert task.model_path is not None
    return make_proof(verification, seeds, task.config, target=Decimal("99.4"), history=[], model_path=task.model_path)


def test_measured_seeds_make_the_record(
    task: SeedTask, verification: StoredStudy, search_study: StoredStudy, train_seeds: Train
) -> None:
    seeds = plan(verification, 10_000, 2)
    trials = train_seeds(task, *seeds)
    proof = record_of(verification, seeds, task)
    assert [row.errors for row in proof.seeds] == [TrialFacts.of(trial).errors for trial in trials]
    assert [row.test_accuracy for row in proof.seeds] == [trial.value for trial in trials]
    assert (proof.study_name, proof.trial, proof.chosen_by, proof.dataset) == ("small", 2, "the best", "sample")
    assert (proof.config, proof.epochs, proof.space) == (task.config, 4, search_study.binding.space)
    assert (proof.num_images, proof.num_planned, proof.judged, proof.confirmed) == (100, 2, False, None)
    assert Proof.model_validate_json(proof.to_json()) == proof


def test_the_kept_model_is_named_only_if_it_is_of_this_very_run(
    task: SeedTask, verification: StoredStudy, train_seeds: Train
) -> None:
    seeds = plan(verification, 10_000, 1)
    [trial] = train_seeds(task, *seeds)
    path = task.model_path
    assert path is not None
    assert record_of(verification, seeds, task).model == KeptModel(file="seed.safetensors", seed=10_000)
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
    assert record_of(verification, seeds, task).model is None
    path.unlink()
    assert record_of(verification, seeds, task).model is None


# The command: what cannot be verified


@pytest.mark.parametrize(("number", "words"), [("1", "pruned"), ("3", "fail"), ("4", "running"), ("99", "no trial 99")])
def test_only_a_complete_trial_is_verified(
    number: str, words: str, search_study: StoredStudy, places: list[str]
) -> None:
    assert_refused(run("verify-best", "--trial", number, *places), 1, words)
    assert optuna.get_all_study_names(search_study.storage) == ["small"]


def test_the_winner_of_an_edited_space_is_not_verified(search_study: StoredStudy, places: list[str]) -> None:
    StudyFacts(space="0123").write(search_study.study)
    assert_refused(run("verify-best", *places), 1, "space.py was edited")
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


# The command: a verdict on complete test digits, of seeds that are on record


@pytest.fixture
def record_seeds(search_study: StoredStudy, the_space: Space, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a search on a judged data set of the study, whose winner made so many errors with seeds 10,000 onward."""
    monkeypatch.setitem(
        DATASETS, "digits", dataclasses.replace(DATASETS["sample"], name="digits", judged=True, target=Decimal("99.3"))
    )

    def add_seeds(*errors: int) -> None:
        StudyFacts(dataset="digits").write(search_study.study)
        winner = choose_trial(search_study, None)
        config = rebuild_config(search_study, winner.trial, the_space)
        verification = open_follower(search_study, Kind.VERIFY, winner, config)
        for seed, number in enumerate(errors, start=10_000):
            add_seed(verification, seed, errors=number)
        plan_attempt(verification, 10_000, len(errors), rule=winner.rule, history=[])

    return add_seeds


@pytest.mark.parametrize(
    ("errors", "target", "code", "sentence"),
    [
        ([60, 60, 60, 60, 60], "99.4", 0, "CONFIRMED: every one of 5 fresh seeds reaches 99.4 %"),
        ([60, 60, 61, 60, 60], "99.4", 3, "NOT CONFIRMED: 1 of 5 fresh seeds miss 99.4 %"),
        ([60, 60, 61, 60, 60], "99.39", 0, "CONFIRMED: every one of 5 fresh seeds reaches 99.39 %"),
        ([10, 10, 10, 10, 10_000], "99.4", 3, "NOT CONFIRMED: 1 of 5"),  # diverged
        ([70, 70, 70, 70, 70], None, 0, "CONFIRMED: every one of 5 fresh seeds reaches 99.3 %"),  # the data set's
    ],
)
def test_a_verification_ends_with_3_unless_every_seed_reaches_the_target(
    errors: list[int],
    target: str | None,
    code: int,
    sentence: str,
    record_seeds: Callable[..., None],
    places: list[str],
    tmp_path: Path,
) -> None:
    record_seeds(*errors)
    command = ["verify-best", *(["--target", target] if target is not None else []), *places]
    result = run(*command)
    assert result.exit_code == code, result.stderr
    assert result.stdout.splitlines()[-1].startswith(sentence)  # piped, a sentence is one line
    printed = run(*command, "--json").stdout
    values = json.loads(printed)
    assert values["confirmed"] is (code == 0)
    assert [row["errors"] for row in values["seeds"]] == errors
    assert values["attempts"] == 1
    assert (tmp_path / "results" / "small" / "verify.json").read_text(encoding="utf-8") == printed
    quiet = run(*command, "--quiet")
    assert (quiet.exit_code, quiet.stdout) == (code, "")


def test_fewer_seeds_do_not_leave_out_one_that_missed(record_seeds: Callable[..., None], places: list[str]) -> None:
    record_seeds(60, 60, 60, 60, 71)
    assert run("verify-best", *places).exit_code == 3
    result = run("verify-best", "--seeds", "2", "--quiet", *places)
    assert result.exit_code == 3
    assert "its first 5 seeds count, not 2" in result.stderr
    picked = run("verify-best", "--first-seed", "10001", "--seeds", "2", *places)
    assert_refused(picked, 1, "are not all fresh", "--first-seed 11000")


def test_a_trial_that_is_asked_for_does_not_replace_the_record_of_the_winner(
    record_seeds: Callable[..., None], places: list[str], tmp_path: Path
) -> None:
    record_seeds(60)
    assert run("verify-best", "--seeds", "1", *places).exit_code == 0
    folder = tmp_path / "results" / "small"
    before = (folder / "verify.json").read_bytes()
    assert run("verify-best", "--seeds", "1", "--trial", "2", "--target", "99.5", *places).exit_code == 3
    assert (folder / "verify.json").read_bytes() == before
    asked = Proof.read(folder / "verify-2.json")
    assert (asked.trial, asked.target) == (2, 99.5)
    assert asked.attempts == 1  # the same seeds of the same trial
    assert (folder / "verify-2.md").read_text(encoding="utf-8").startswith("# NOT CONFIRMED")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is damaged"),
        ("{}", "move it away"),
        ('{"schema_version": 1, "seeds": []}', "is damaged"),
    ],
)
def test_a_damaged_record_is_not_replaced(
    content: str, words: str, record_seeds: Callable[..., None], places: list[str], tmp_path: Path
) -> None:
    record_seeds(60)
    path = tmp_path / "results" / "small" / "verify.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert_refused(run("verify-best", "--seeds", "1", *places), 1, str(path), words)
    assert path.read_text() == content


def test_a_new_database_does_not_forget_an_attempt(
    record_seeds: Callable[..., None], search_study: StoredStudy, places: list[str], tmp_path: Path
) -> None:
    record_seeds(71)
    assert run("verify-best", "--seeds", "1", *places).exit_code == 3
    path = tmp_path / "results" / "small" / "verify.json"
    record = Proof.read(path)
    other = changed(record, config=dataclasses.replace(record.config, lr=0.5), trial=7)  # of a study that is gone
    optuna.delete_study(storage=search_study.storage, study_name="small-verify-2")
    other.write(path)
    assert_refused(run("verify-best", "--first-seed", "10000", *places), 1, "are not all fresh")
    optuna.delete_study(storage=search_study.storage, study_name="small-verify-2")
    record_seeds(60)
    changed(other, seeds=[other.seeds[0].model_copy(update={"seed": 9_000})]).write(path)
    proof = Proof.model_validate_json(run("verify-best", "--seeds", "1", "--json", *places).stdout)
    assert proof.attempts == 2
    assert [(row.trial, row.first_seed, row.num_passed) for row in proof.earlier_attempts] == [(7, 9_000, 0)]


def test_new_seeds_do_not_undo_a_seed_that_missed(
    record_seeds: Callable[..., None], search_study: StoredStudy, places: list[str]
) -> None:
    record_seeds(71)
    assert run("verify-best", "--seeds", "1", *places).exit_code == 3
    verification = StoredStudy.load(search_study.storage, "small-verify-2")
    add_seed(verification, 20_000)
    result = run("verify-best", "--first-seed", "20000", "--seeds", "1", *places)
    assert result.exit_code == 3
    last = result.stdout.splitlines()[-1]
    assert last.startswith("NOT CONFIRMED: this seed reaches")
    assert last.endswith("but an earlier attempt at this configuration did not.")
