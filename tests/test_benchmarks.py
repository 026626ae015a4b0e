"""The benchmarks measure what they say, at settings that are small enough to try."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import click
import optuna
import psutil
import pytest
import torch
from click.testing import CliRunner
from optuna.pruners import NopPruner, PercentilePruner
from optuna.trial import FrozenTrial

from benchmarks import contest, points, pruners, records, step_profile, throughput, trial_times
from benchmarks.light_study import ACCURACY
from benchmarks.pruners import Learned
from benchmarks.reference_loop import Digits, Net
from benchmarks.sleep_study import SleepTask
from search.config import AugmentConfig, ModelConfig, TrialConfig
from search.net.data import Split
from search.net.datasets import DATASETS
from search.net.model import TinyCNN, num_params
from search.net.model_file import load_model
from search.proof.parts import RecordError
from search.runs.tasks import SearchTask
from search.runs.validating import Validation
from search.settings import BEST_MODEL
from search.studies.facts import TrialFacts
from search.studies.job import Result, TrialInterruptedError
from search.studies.plan import DrawnPlan
from search.studies.process import Owner, this_process
from search.studies.study import StoredStudy
from search.studies.tickets import claim_trial
from space import suggest_config

pytestmark = pytest.mark.slow  # benchmarks, which only this project's developers run

ROOT = Path(__file__).resolve().parent.parent
CONFIG = TrialConfig(
    model=ModelConfig(channels=((2,), (3,), (4,))),
    augment=AugmentConfig(rotation=10.0, shift=2.0, scale=0.1, shear=0.1),
    lr=0.01,
    weight_decay=0.01,
)


NETS = {"user's": Net(CONFIG.model), "ours": TinyCNN(CONFIG.model)}


# Throughput


def test_the_reference_loop_trains_the_same_weights_and_a_norm_for_the_first_bias() -> None:
    matrices = {name: [p.shape for p in net.parameters() if p.ndim > 1] for name, net in NETS.items()}
    assert matrices["user's"] == matrices["ours"]
    assert num_params(NETS["user's"]) == num_params(NETS["ours"]) + CONFIG.model.channels[0][0]


@pytest.mark.parametrize(
    "measure", [throughput.measure_loop, partial(throughput.measure_loop, net=TinyCNN), throughput.measure_ours]
)
def test_both_sides_are_measured_after_an_epoch_that_warms_up(measure, few_digits: Split) -> None:
    work = contest.Work(config=CONFIG, split=few_digits, epochs=2, precision="fp32")
    started: list[bool] = []
    measured = measure(work, torch.device("cpu"), lambda: started.append(True))
    assert measured.amount == len(few_digits) // CONFIG.batch_size * CONFIG.batch_size
    assert measured.start < measured.end
    assert started == [True]


def test_the_loop_copies_its_digits_once_and_not_for_each_image(
    few_digits: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = Digits(few_digits, CONFIG)
    monkeypatch.setattr(Split, "images", property(lambda _: pytest.fail("copied again")))
    image, label = digits[3]
    assert image.shape == (1, 28, 28)
    assert label == int(few_digits.labels[3])


def test_every_process_of_a_contestant_is_measured_on_digits_of_a_mapped_file(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(bytes(100 * 784))
    pool = torch.from_file(str(tmp_path / "images"), size=100 * 784, dtype=torch.uint8).view(100, 1, 28, 28)
    digits = contest.first_digits(Split.of(pool, torch.arange(100) % 10, DATASETS["sample"].pixels), 256)
    work = contest.Work(config=CONFIG, split=digits, epochs=2, precision="fp32")
    contestant = contest.Contestant(name="ours", measure=throughput.measure_ours, devices=["cpu"] * 2, threads=1)
    first, second = contest.run(contestant, work)
    assert first.amount == second.amount == 256
    assert abs(first.start - second.start) < 5  # they wait for each other, each having loaded PyTorch
    assert min(first.end - first.start, second.end - second.start) > 0


def test_what_processes_do_together_counts_until_the_last_of_them_has_ended() -> None:
    short = contest.Stretch(amount=100, start=1, end=2)
    assert contest.rate([short, contest.Stretch(amount=100, start=1.5, end=5)]) == 50


def test_a_contestant_whose_process_fails_is_told_and_the_others_do_not_wait_for_it(few_digits: Split) -> None:
    work = contest.Work(config=CONFIG, split=few_digits, epochs=2, precision="fp32")
    contestant = contest.Contestant(name="ours", measure=throughput.measure_ours, devices=["cpu", "nowhere"])
    with pytest.raises(click.ClickException, match="ours: a process ended with exit code 1"):
        contest.run(contestant, work)


def test_the_ratio_is_to_the_better_of_the_loops_in_the_same_round() -> None:
    rates = {
        throughput.LOOPS[0]: [10.0, 20.0, 90.0],
        throughput.LOOPS[1]: [40.0, 20.0, 40.0],
        throughput.ALL: [200.0, 110.0, 240.0],
    }
    assert throughput.better_loop(rates) == throughput.LOOPS[1]
    row = throughput.describe(throughput.ALL, rates, "bf16")
    assert (row.images_per_s, row.ratios, row.ratio, row.precision) == (200, (5.0, 5.5, 6.0), 5.5, "bf16")


# Step profile


def test_a_step_is_measured_with_the_kinds_of_work_that_it_is_made_of(few_digits: Split) -> None:
    work = contest.Work(config=CONFIG, split=few_digits, epochs=5, precision="fp32")
    measured = step_profile.measure(work, torch.device("cpu"), lambda: None)
    others = {step_profile.AUGMENTATION, step_profile.OPTIMIZER, step_profile.AVERAGE, step_profile.BETWEEN}
    assert set(measured.kinds_ms) == {*(kind for _, _, kind in step_profile.KERNELS), *others}
    assert all(ms > 0 for ms in measured.kinds_ms.values())
    assert list(measured.kinds_ms.values()) == sorted(measured.kinds_ms.values(), reverse=True)
    assert sum(measured.kinds_ms.values()) == pytest.approx(measured.timed_step_ms)
    assert measured.step_ms > 0


# Pruners

RISING = Learned(tuple(90.0 + epoch for epoch in range(5)), 94.5)
BAD = Learned(tuple(50.0 + epoch for epoch in range(5)), 54.5)
LATE = Learned((40.0, 41.0, 42.0, 43.0, 93.0), 99.0)  # the best, but only by all views


def test_without_a_pruner_all_is_trained_and_the_best_is_found() -> None:
    assert pruners.replay([RISING, BAD, LATE], NopPruner()) == pruners.Replay(saved=0.0, killed_best=False, regret=0.0)


def test_a_replay_saves_the_epochs_after_the_prune_and_pays_for_a_killed_best() -> None:
    pruner = PercentilePruner(50.0, n_startup_trials=1, n_warmup_steps=2)
    outcome = pruners.replay([RISING, BAD, LATE], pruner)
    assert outcome.saved == pytest.approx(2 * 3 / 15)  # BAD and LATE end after the second epoch
    assert outcome.killed_best
    assert outcome.regret == pytest.approx(99.0 - RISING.value)


def test_orders_are_the_same_for_every_pruner_and_keep_all_curves() -> None:
    curves = [RISING, BAD, LATE]
    assert pruners.orders(curves, 3, 1.0) == pruners.orders(curves, 3, 1.0)
    assert all(sorted(order) == sorted(curves) for order in pruners.orders(curves, 3, 1.0))
    assert {len(set(order)) for order in pruners.orders(curves, 3, 0.67)} == {2}


def test_epochs_are_held_against_the_values_that_rank_the_trials() -> None:
    rows = pruners.predictiveness([RISING, BAD, LATE])
    assert [row.epoch for row in rows] == [1, 2, 3, 4, 5]
    assert rows[-1].rank_correlation == pytest.approx(0.5)  # by one view, the best is second
    assert rows[0].rank_correlation == pytest.approx(-0.5)


def test_the_noise_is_that_of_points_that_were_run_again() -> None:
    assert pruners.pooled_std([(99.0,), (), (99.1, 99.3), (98.0, 98.0)]) == pytest.approx(0.1)
    assert pruners.pooled_std([(99.0,), ()]) is None


@pytest.mark.parametrize("name", list(pruners.candidates(15)))
def test_every_pruner_under_test_can_be_replayed(name: str) -> None:
    curves = [tuple(value + shift for value in RISING.curve * 3) for shift in range(12)]
    trials = [Learned(curve, curve[-1]) for curve in curves]
    row = pruners.measure(name, [trials, trials[::-1]], [trials[::2]], 0.05)
    assert 0 <= row.parts_lost <= 1
    assert 0 <= row.best_killed <= 1
    assert 0 <= row.epochs_saved < 1


# Orchestration


START = datetime(2026, 1, 1)


def begun_by(owner: Owner, start: datetime) -> FrozenTrial:
    trial = optuna.trial.create_trial(value=1.0, user_attrs=TrialFacts(owner=owner).as_attributes())
    trial.datetime_start = start
    return trial


def ended(pid: int, number: int, seconds: float, lasted: float = 2.0) -> FrozenTrial:
    facts = TrialFacts(owner=Owner(host="here", pid=pid, started=START.timestamp()), ticket=number)
    trial = optuna.trial.create_trial(value=1.0, user_attrs=facts.as_attributes())
    trial.number = number
    trial.datetime_start = START + timedelta(seconds=seconds - lasted)
    trial.datetime_complete = START + timedelta(seconds=seconds)
    return trial


def test_what_a_worker_did_not_sleep_between_two_ends_is_outside() -> None:
    trials = [
        ended(1, 0, seconds=5.0),  # a worker's first: its start lies before it
        ended(2, 1, seconds=6.0),
        ended(1, 2, seconds=7.5),
        ended(2, 3, seconds=9.0),
    ]
    assert trial_times.seconds_outside(trials, slept=2.0) == pytest.approx([0.5, 1.0])


def test_a_worker_has_started_when_its_first_trial_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_times, "LINUX", False)  # where a process's start is recorded in seconds
    trials = [
        ended(2, 1, seconds=6.0),
        ended(2, 3, seconds=9.0),
        ended(1, 0, seconds=5.0),
    ]
    assert trial_times.seconds_to_first_trial(trials) == [3.0, 4.0]


def test_the_start_of_a_process_is_told_to_the_second() -> None:
    [seconds] = trial_times.seconds_to_first_trial([begun_by(this_process(), datetime.now())])
    assert seconds == pytest.approx(time.time() - psutil.Process().create_time(), abs=2.0)


def test_orchestration_is_measured_with_real_workers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.orchestration", "--backend", "sqlite", "--recorded", "5"]
    command += ["--workers", "1", "--trials", "2", "--epoch-seconds", "0", "--json"]
    command += ["--dataset", "sample"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    facts = json.loads(ended.stdout)
    [row] = facts["trials"]
    assert (row["backend"], row["recorded"], row["workers"]) == ("sqlite", 5, 1)
    assert 0 < row["seconds_per_trial"] < 60
    assert facts["start"]["help"] > 0
    assert 0 < facts["seconds_to_first_trial"] < 60
    (tmp_path / "orchestration.json").write_text(ended.stdout, encoding="utf-8")
    assert records.to_json(records.read(records.Orchestration, tmp_path / "orchestration.json")) + "\n" == ended.stdout


VALIDATION = Validation(dataset="sample", data_dir=Path("nowhere"), precision="fp32", max_params=1_999, epochs=1)


def test_a_trial_that_sleeps_leaves_all_that_a_searched_one_does(
    storage: optuna.storages.RDBStorage, tmp_path: Path
) -> None:
    sleeping = SleepTask(validation=VALIDATION, folder=tmp_path / "sleeping", epoch_seconds=0.0)
    searching = SearchTask(
        validation=VALIDATION,
        suggest_config=suggest_config,
        seed=0,
        search_name="search",
        folder=tmp_path / "searching",
    )
    left, resources = [], VALIDATION.prepare("cpu")
    for name, task in (("sleeping", sleeping), ("searching", searching)):
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        trial = claim_trial(StoredStudy(study, storage), DrawnPlan(num_trials=1, sampler_name="random", seed=0))
        assert trial is not None
        result = task.run(trial, resources, lambda: False)
        assert result.keep is not None
        result.keep(StoredStudy(study, storage))
        [stored] = study.get_trials(deepcopy=False)
        left.append((stored.params, stored.user_attrs.keys(), stored.system_attrs.keys(), stored.last_step))
        assert load_model(tmp_path / name / BEST_MODEL) is not None
    assert left[0] == left[1]


def sleep_once(storage: optuna.storages.RDBStorage, folder: Path, *, epochs: int, stop: bool = False) -> Result:
    study = optuna.create_study(storage=storage, study_name="sleep", direction="maximize", load_if_exists=True)
    trial = claim_trial(StoredStudy(study, storage), DrawnPlan(num_trials=1, sampler_name="random", seed=0))
    assert trial is not None
    task = SleepTask(validation=replace(VALIDATION, epochs=epochs), folder=folder, epoch_seconds=0.0)
    return task.run(trial, VALIDATION.prepare("cpu"), lambda: stop)


def test_a_trial_that_sleeps_ends_after_the_epoch_in_which_it_is_asked_to(
    storage: optuna.storages.RDBStorage, tmp_path: Path
) -> None:
    with pytest.raises(TrialInterruptedError):
        sleep_once(storage, tmp_path, epochs=2, stop=True)


def test_a_trial_that_sleeps_saves_its_model_only_if_it_is_the_best(
    storage: optuna.storages.RDBStorage, tmp_path: Path
) -> None:
    result = sleep_once(storage, tmp_path, epochs=1)
    assert (result.value, result.keep is not None) == (ACCURACY, True)
    assert result.keep is not None
    sleeping = StoredStudy.load(storage, "sleep")
    sleeping.study.add_trial(optuna.trial.create_trial(value=99.0))
    result.keep(sleeping)
    assert (tmp_path / BEST_MODEL).exists()
    (tmp_path / BEST_MODEL).unlink()
    sleeping.study.add_trial(optuna.trial.create_trial(value=100.0))
    result.keep(sleeping)
    assert not (tmp_path / BEST_MODEL).exists()


# Records


@pytest.mark.parametrize(
    "kind",
    [
        records.Chaos,
        records.Orchestration,
        records.Points,
        records.PrunerReplays,
        records.Repeat,
        records.Samplers,
        records.StepProfile,
        records.Throughput,
    ],
)
def test_a_record_of_something_else_is_refused_with_its_name(kind: type[records.Measurement], tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"commit": "0123abc", "versions": {}}', encoding="utf-8")
    with pytest.raises(RecordError, match=r"other\.json is no record of this benchmark \(it has no '\w+'\)"):
        records.read(kind, path)


def test_what_a_user_can_mend_is_told_in_one_line(tmp_path: Path) -> None:
    options = ["--storage", f"sqlite:///{tmp_path / 'none.db'}", "--study-name", "drawn"]
    ended = CliRunner().invoke(points.main, options)
    assert ended.exit_code == 1
    assert ended.stderr.startswith("Error: There is no study yet: ")
    assert len(ended.stderr.splitlines()) == 1
