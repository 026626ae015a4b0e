"""Ctrl-C, kill -9, and workers that die: nothing is lost, and the same command goes on."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import ROOT, run
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.runs.searching import run_search
from search.settings import SearchSettings
from search.show.screen import Work
from search.studies.facts import TrialFacts
from search.studies.opening import open_search_study
from search.studies.plan import DrawnPlan
from search.studies.process import process_here
from search.studies.space import Space
from search.studies.storage import open_storage
from search.studies.study import Binding, StoredStudy
from search.studies.tickets import claim_trial


def wait_for_running_trial(process: subprocess.Popen[bytes], study_url: str, study_name: str) -> None:
    """Returns when a trial has drawn its parameters and trains."""
    for _ in range(1_200):
        assert process.poll() is None, "the search has ended before it was killed"
        if running_trials(study_url, study_name):
            return
        time.sleep(0.1)
    pytest.fail("no trial has started")


def running_trials(study_url: str, study_name: str) -> list[int]:
    """Which trials train, read with as little work as possible while they do."""
    path = study_url.removeprefix("sqlite:///")
    if not Path(path).exists():
        return []
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        rows = connection.execute(
            "SELECT number FROM trials JOIN trial_user_attributes USING (trial_id) JOIN studies USING (study_id) "
            "WHERE state = 'RUNNING' AND key = 'channels' AND study_name = ?",
            [study_name],
        )
        return [number for (number,) in rows]
    except sqlite3.OperationalError:  # its tables are not there yet
        return []
    finally:
        connection.close()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kills a command with its workers, and waits until they are gone, or are zombies that nobody looks after."""
    if process.poll() is not None:
        return
    group = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pid in group:
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.05)


def trials_of(study_url: str, study_name: str) -> list[FrozenTrial]:
    storage = open_storage(study_url)
    trials = StoredStudy.load(storage, study_name).trials()
    storage.remove_session()
    storage.engine.dispose()
    return trials


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "presses"), [("1", 1), ("0", 2)], ids=["once", "twice, without workers"])
def test_ctrl_c_ends_a_search_with_its_record(workers: str, presses: int, storage_url: str, places: list[str]) -> None:
    options = ["--dataset", "sample", "--trials", "2", "--workers", workers, "--study-name", "stopped", "--json"]
    options += ["--max-params", "1000"]  # for speed
    command = [sys.executable, "cli.py", "search", *options, *places]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, start_new_session=True)
    try:
        wait_for_running_trial(process, storage_url, "stopped")
        for _ in range(presses):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
            time.sleep(0.2)  # signals of a kind that come together are one
        stdout, stderr = process.communicate(timeout=120)
    finally:
        kill_group(process)
    assert process.returncode == 130, stderr.decode()
    assert stderr.count(b"Stopping after the running epoch") == 1
    counts = {"total": 0, "complete": 0, "pruned": 0, "failed": 0, "interrupted": 1}
    assert json.loads(stdout)["trials"] == counts
    states = [trial.state for trial in trials_of(storage_url, "stopped")]
    assert states == [TrialState.FAIL]  # of fifteen epochs one ended, or none; nothing is left running


def results_of(study_url: str, study_name: str) -> list[tuple[Any, ...]]:
    """What the trials that count have come to, in order. Left out is what says when, how fast, and by whom."""
    incidental = {"owner": None, "retry_of": None, "seconds": 0.0, "worker_peak_memory_mb": None}
    trials = [trial for trial in trials_of(study_url, study_name) if trial.state != TrialState.FAIL]
    facts = [TrialFacts.of(trial).model_copy(update=incidental) for trial in trials]
    results = [(trial.state, trial.values, trial.params, trial.intermediate_values) for trial in trials]
    return list(zip(results, facts, strict=True))


@pytest.mark.slow
def test_a_search_killed_in_mid_trial_goes_on_where_it_was_and_comes_to_the_same_bit_for_bit(
    storage_url: str, places: list[str]
) -> None:
    options = ["--dataset", "sample", "--trials", "3", "--epochs", "2", "--workers", "1", "--study-name", "killed"]
    options += ["--rerank", "0", "--max-params", "1000"]
    command = [sys.executable, "cli.py", "search", *options, *places, "--json"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for_running_trial(process, storage_url, "killed")
    finally:
        kill_group(process)
    result = run(*command[2:], "--workers", "0")
    assert result.exit_code == 0, result.stderr
    assert "Cut off, and tried again" in result.stderr
    trials = trials_of(storage_url, "killed")
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    facts = {trial.number: TrialFacts.of(trial) for trial in trials}
    finished = [trial for trial in trials if trial.state != TrialState.FAIL]
    assert sorted(facts[trial.number].ticket for trial in finished) == [0, 1, 2]
    interrupted = [
        trial for trial in trials if trial.state == TrialState.FAIL and facts[trial.number].ticket is not None
    ]
    assert interrupted
    for trial in interrupted:
        (again,) = [each for each in finished if facts[each.number].ticket == facts[trial.number].ticket]
        assert again.number > trial.number
        assert trial.params.items() <= again.params.items()
    counts = json.loads(result.stdout)["trials"]
    num_failed = sum(trial.state == TrialState.FAIL for trial in trials)
    assert (counts["total"], counts["interrupted"], counts["failed"]) == (3, num_failed, 0)
    assert run(*command[2:], "--workers", "0", "--study-name", "left alone").exit_code == 0
    assert results_of(storage_url, "killed") == results_of(storage_url, "left alone")


class ScreenOfWhoSeesAnotherDie:
    """Ends another command's worker as soon as this command has completed a trial."""

    def __init__(self, owner: subprocess.Popen[bytes]) -> None:
        self.said: list[str] = []
        self._owner = owner

    def say(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        raise AssertionError(message)

    @contextlib.contextmanager
    def watch(self, work: Work) -> Iterator[Callable[[], None]]:
        def update() -> None:
            if work.stored.complete_trials():
                self._owner.kill()
                self._owner.wait()

        yield update


@pytest.mark.slow
def test_a_trial_whose_owner_dies_while_others_still_train_is_tried_again(
    storage: RDBStorage, sample_binding: Binding, tmp_path: Path, the_space: Space
) -> None:
    settings = SearchSettings(
        storage=str(storage.url), study_name="shared", results_dir=tmp_path / "results", data_dir=tmp_path / "data",
        dataset="sample", max_params=1_999, epochs=1, trials=2, rerank=0, workers=0,
    )  # fmt: skip
    search = open_search_study(storage, "shared", replace(sample_binding, epochs=1), the_space.reference)
    trial = claim_trial(search, DrawnPlan(num_trials=2, sampler_name="random", seed=0))
    assert trial is not None
    with subprocess.Popen(["sleep", "600"]) as owner:  # another command's worker
        try:
            TrialFacts(owner=process_here(owner.pid)).write(trial)
            screen = ScreenOfWhoSeesAnotherDie(owner)
            ended = run_search(settings, the_space, screen)
        finally:
            owner.kill()  # also where the search is refused
    assert "Cut off, and tried again with the same parameters: trial 0." in screen.said
    assert ended.record is not None
    counts = ended.record.trials
    assert (counts.total, counts.complete, counts.interrupted, counts.failed) == (2, 2, 1, 0)
    assert [TrialFacts.of(each).ticket for each in search.trials()] == [0, 1, 0]
