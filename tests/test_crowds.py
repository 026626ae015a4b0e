"""The benchmarks of many workers measure what they say, at settings that are small enough to try."""

import io
import itertools
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from rich.console import Console

from benchmarks import counted, crowds, light_study, records, scaling
from benchmarks.claims import measure_claims
from benchmarks.counted import Database, search_to_end
from benchmarks.databases import PostgresqlServer
from benchmarks.hosts import on_host, why_no_hosts
from benchmarks.light_study import STUDY_NAME, LightTask, build_study, open_study
from benchmarks.processes import ROOT, started
from benchmarks.readers import reading
from benchmarks.records import ClaimRow, Scaling, ScalingRow, Tally
from benchmarks.sleep_study import SleepTask
from search.config import ExplainedError
from search.runs.validating import Validation
from search.studies.facts import TrialFacts
from search.studies.job import TrialInterruptedError
from search.studies.plan import DrawnPlan
from search.studies.storage import open_storage
from search.studies.study import StoredStudy
from search.studies.tickets import claim_trial
from tools import scaling as page

pytestmark = pytest.mark.slow  # benchmarks, which only this project's developers run

PLAN = DrawnPlan(num_trials=3, sampler_name="random", seed=0)
LIGHT = LightTask(max_params=1_999, epochs=2, epoch_seconds=0.0)


@pytest.fixture
def sleeping(storage: RDBStorage) -> StoredStudy:
    return open_study(storage, LIGHT.max_params, LIGHT.epochs)


def claim(stored: StoredStudy) -> optuna.Trial:
    trial = claim_trial(stored, PLAN)
    assert trial is not None
    return trial


# Studies that sleep


def test_a_light_trial_leaves_all_that_one_with_a_network_does(sleeping: StoredStudy, tmp_path: Path) -> None:
    validation = Validation(dataset="sample", data_dir=tmp_path, precision="fp32", max_params=1_999, epochs=2)
    heavy = SleepTask(validation=validation, folder=tmp_path, epoch_seconds=0.0)
    left = []
    for task, resources in ((LIGHT, None), (heavy, validation.prepare("cpu"))):
        trial = claim(sleeping)
        task.run(trial, resources, lambda: False)
        stored = sleeping.trials()[trial.number]
        left.append((stored.user_attrs.keys(), stored.system_attrs.keys() - {"fixed_params"}, stored.last_step))
    assert left[0] == left[1]


def test_a_light_trial_ends_after_the_epoch_in_which_it_is_asked_to(sleeping: StoredStudy) -> None:
    trial = claim(sleeping)
    with pytest.raises(TrialInterruptedError):
        LIGHT.run(trial, None, lambda: True)
    assert sleeping.trials()[trial.number].last_step == 1


def test_light_workers_load_no_pytorch() -> None:
    program = "import sys, benchmarks.light_search; assert 'optuna' in sys.modules; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_a_large_study_is_copies_of_its_first_trials_each_with_its_own_ticket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(light_study, "DRAWN_TRIALS", 2)
    url = f"sqlite:///{tmp_path / 'large.db'}"
    build_study(url, 5, LIGHT.max_params)
    storage = open_storage(url)
    trials = StoredStudy.load(storage, STUDY_NAME).complete_trials()
    storage.engine.dispose()
    assert [TrialFacts.of(trial).ticket for trial in trials] == [trial.number for trial in trials] == [*range(5)]
    first, second, third, _, last = trials
    assert first.params != second.params
    for copy in (third, last):
        assert (copy.params, copy.value, copy.intermediate_values) == (
            first.params,
            first.value,
            first.intermediate_values,
        )


def test_a_silence_is_made_shorter_wherever_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from search.show import status
    from search.studies import storage, tickets

    known = [module for name, module in sys.modules.items() if name.startswith("search.")]
    for module, name in itertools.product(known, ("GRACE_PERIOD", "HEARTBEAT_INTERVAL")):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, getattr(module, name))  # and back again in the end
    light_study.shorten_silence(20.0)
    assert (storage.GRACE_PERIOD, storage.HEARTBEAT_INTERVAL) == (20, 5)
    assert tickets.GRACE_PERIOD == status.GRACE_PERIOD == 20


# Crowds


def test_a_tally_counts_what_is_missing_twice_running_and_interrupted(sleeping: StoredStudy) -> None:
    database = Database(url=sleeping.storage.url, planned=3)
    sleeping.study.tell(claim(sleeping), 1.0)
    sleeping.study.tell(claim(sleeping), state=TrialState.FAIL)
    running = claim(sleeping)
    TrialFacts(ticket=0).write(running)
    assert database.tally() == Tally(planned=3, finished=1, missing=2, twice=0, running=1, interrupted=1)
    sleeping.study.tell(running, state=TrialState.PRUNED)
    assert database.tally() == Tally(planned=3, finished=2, missing=2, twice=1, running=0, interrupted=1)
    assert not crowds.is_exact(database.tally())
    assert crowds.is_exact(Tally(planned=3, finished=3, missing=0, twice=0, running=0, interrupted=1))


def test_a_command_that_ends_too_early_is_started_again(
    sleeping: StoredStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counted, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(counted, "POLL_SECONDS", 0.05)
    database = Database(url=sleeping.storage.url, planned=2)

    log = tmp_path / "log"

    def finish_a_trial_per_start() -> None:
        while len(sleeping.complete_trials()) < log.read_text(encoding="utf-8").count("started"):
            sleeping.study.tell(claim(sleeping), 1.0)

    assert search_to_end(["sh", "-c", "echo started; sleep 0.3"], log, database, finish_a_trial_per_start) == 2


def test_what_a_benchmark_has_started_ends_with_it_and_all_that_it_has_started(tmp_path: Path) -> None:
    with started(["sh", "-c", "sleep 600 & echo ready; wait"], tmp_path / "log") as process:
        while "ready" not in (tmp_path / "log").read_text(encoding="utf-8"):
            time.sleep(0.02)
        family = process.family()
        assert len(family) == 2
    for _ in range(500):  # what was killed needs a moment to end
        if not any(map(is_alive, family)):
            return
        time.sleep(0.02)
    pytest.fail(f"{family}")


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_command_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    with started(["sh", "-c", "echo the reason >&2; exit 3"], tmp_path / "log") as process:
        process.process.wait()
        assert re.fullmatch(r".* ended with exit code 3: the reason", str(process.failure()))


def test_a_crowd_is_counted_while_the_dashboard_and_status_read(tmp_path: Path) -> None:
    crowd = crowds.crowd("sqlite", f"sqlite:///{tmp_path / 'crowd.db'}", tmp_path, num_trials=3, num_workers=1)
    assert crowd.tally == Tally(planned=3, finished=3, missing=0, twice=0, running=0, interrupted=0)
    assert crowd.starts == 1
    assert crowd.dashboard_requests > 0
    assert crowd.status_reads > 0
    assert crowd.dashboard_failures == crowd.status_failures == 0


def test_a_reader_that_fails_is_counted() -> None:
    def fail() -> None:
        raise OSError("away")

    with reading(fail) as reads:
        while not reads.times:
            time.sleep(0.01)
    assert reads.failures == reads.times == 1


def test_hosts_have_names_of_their_own() -> None:
    reason = why_no_hosts()
    if reason is not None:
        pytest.skip(reason)
    words = ["sh", "-c", "hostname; echo $$"]
    ended = subprocess.run(on_host("a", words), capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["a", "1"]


# Scaling


@pytest.mark.postgresql
def test_workers_on_a_server_are_measured_once_all_of_them_are_at_work(
    postgresql: PostgresqlServer, tmp_path: Path
) -> None:
    url = postgresql.create_database("scaling")
    open_storage(url, create=True).engine.dispose()
    row = scaling.measure(postgresql, url, tmp_path, num_workers=1, epoch_seconds=0.001, seconds=1.0)
    assert row.workers == 1
    assert row.trials >= scaling.TRIALS_PER_WORKER
    assert row.trials_per_second == pytest.approx(row.trials / row.seconds, rel=0.1)
    assert 0 < row.seconds_per_trial <= row.slowest
    assert 0 < row.server_cpu_seconds < 10
    assert 0 < row.worker_cpu_seconds < 10
    assert row.connections_per_worker > 0
    assert row.connections_of_command > 0
    assert row.connections <= row.connections_per_worker + row.connections_of_command


def test_claims_are_measured_with_what_others_wait_meanwhile(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'recorded.db'}"
    build_study(url, 3, LIGHT.max_params)
    row = measure_claims(url, "sqlite", 3)
    assert (row.backend, row.recorded) == ("sqlite", 3)
    assert min(row.seconds, row.first_seconds, row.others_waited) > 0


MEASURED = Scaling(
    rows=tuple(
        ScalingRow(
            workers=workers,
            seconds=60.0,
            trials=20 * workers,
            trials_per_second=workers / 3,
            seconds_per_trial=0.1,
            slowest=0.2,
            worker_cpu_seconds=0.3,
            server_cpu_seconds=0.1,
            connections=2 * workers + 1,
            connections_per_worker=2,
            connections_of_command=1,
        )
        for workers in (1, 2)
    ),
    claims=(ClaimRow(backend="postgresql", recorded=100, first_seconds=0.2, seconds=0.01, others_waited=0.02),),
    interrupted=False,
    recorded=100,
    epochs=15,
    epoch_seconds=0.2,
    num_cores=2,
    commit="unknown",
    versions={},
)


def test_a_measurement_is_shown_plotted_and_read_again(tmp_path: Path) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(scaling.report(MEASURED))
    assert re.search(r"2 │ +0.67 │ +100%.* 5 \(2 \+ 1\)", console.export_text())
    scaling.plot(MEASURED, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "scaling.json").write_text(records.to_json(MEASURED), encoding="utf-8")
    assert records.read(Scaling, tmp_path / "scaling.json") == MEASURED


def test_the_page_says_how_many_workers_were_worth_it_and_how_many_connections_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "REFERENCE", tmp_path)
    (tmp_path / "trials.csv").write_text("number,seconds\n0,100\n1,20\n2,\n", encoding="utf-8")
    slow = replace(MEASURED.rows[1], workers=4)  # half of the ideal
    (tmp_path / "scaling.json").write_text(
        records.to_json(replace(MEASURED, rows=(*MEASURED.rows, slow))), encoding="utf-8"
    )
    told = page.scaling()
    assert "up to 2 workers reach 80%; the most was 0.7 trials per second" in told
    assert "took 60 s on average" in told
    assert "are the work of 40 workers" in told
    assert "one core of its own bears 600 of them" in told
    assert "4 workers with one command held 5 at once" in told
    assert "bears 10 hosts of 8 workers" in told
    (tmp_path / "scaling.json").write_text(records.to_json(replace(MEASURED, interrupted=True)), encoding="utf-8")
    with pytest.raises(ExplainedError, match="not of a whole measurement"):
        page.scaling()
