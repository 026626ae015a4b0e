"""A command that has nothing left to start, while others hold what is left."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from fakes import FakeTask, claim, drawn, ends, let_heartbeats_age, make_job, states
from optuna.storages import RDBStorage
from showing import shown
from tiny import TINY_SPACE, Listener

from search.provenance import Code
from search.runs.session import Session
from search.settings import SearchSettings
from search.show.status import describe_storage, studies_table
from search.studies.facts import TrialFacts
from search.studies.job import Job
from search.studies.process import Owner, this_process
from search.studies.storage import open_storage
from search.studies.study import StoredStudy

ELSEWHERE = Owner(host="node-7", place="elsewhere", pid=1, started=0.0)
NOTHING_LEFT = "Nothing else is left to start."


@pytest.fixture
def screen() -> Listener:
    return Listener()


@pytest.fixture
def session(storage: RDBStorage, tmp_path: Path, screen: Listener) -> Session:
    """A command that computes in this process."""
    settings = SearchSettings(
        storage=str(storage.url), results_dir=tmp_path / "results", device="cpu", workers=0, precision="fp32"
    )
    return Session.open(settings, TINY_SPACE, screen, create=False)


@pytest.fixture
def job(storage: RDBStorage, code: Code) -> Job:
    return make_job(str(storage.url), code, FakeTask(), 2)


@pytest.fixture
def held(search: StoredStudy) -> optuna.Trial:
    """The first of two trials is complete, the second held by another host."""
    search.study.tell(claim(search, drawn(2)), 90.0)
    trial = claim(search, drawn(2))
    TrialFacts(owner=ELSEWHERE).write(trial)
    return trial


@contextlib.contextmanager
def once_it_waits(screen: Listener, act: Callable[[], object], seconds: float = 0.0) -> Iterator[None]:
    """Does something when the command has said that it waits, and so many seconds have passed."""

    def watch() -> None:
        until = time.monotonic() + 30
        while not screen.said and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(seconds)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()


@pytest.mark.slow
def test_a_killed_hosts_trial_is_waited_for_and_then_done(
    session: Session, search: StoredStudy, job: Job, held: optuna.Trial, screen: Listener
) -> None:
    let_heartbeats_age(search.storage, 235)
    assert not session.run(search, job)
    assert ends(search) == [(0, "COMPLETE"), (1, "FAIL"), (1, "COMPLETE")]
    waiting, released = screen.said
    assert waiting.startswith("Trial 1: held by node-7, last heard of 2")
    assert "s more of silence. Waiting to hear more; Ctrl-C ends that." in waiting
    assert released == "Cut off, and tried again with the same parameters: trial 1."


@pytest.mark.slow
def test_a_host_that_shows_that_it_lives_is_left_to_it(
    session: Session, search: StoredStudy, storage_url: str, job: Job, held: optuna.Trial, screen: Listener
) -> None:
    let_heartbeats_age(search.storage, 50)
    other = open_storage(storage_url)
    begun = time.monotonic()
    with once_it_waits(screen, lambda: other.record_heartbeat(held._trial_id), 2.5):
        assert not session.run(search, job)
    assert 2.5 < time.monotonic() - begun < 30
    assert states(search) == ["COMPLETE", "RUNNING"]
    waiting, living = screen.said
    assert "last heard of 5" in waiting
    assert waiting.endswith("Waiting to hear more; Ctrl-C ends that.")
    assert "last heard of 5" not in living
    assert living.endswith(NOTHING_LEFT)


def test_what_another_host_ends_meanwhile_ends_the_wait(
    session: Session, search: StoredStudy, job: Job, held: optuna.Trial, screen: Listener
) -> None:
    other = StoredStudy.load(open_storage(str(search.storage.url)), search.name)
    with once_it_waits(screen, lambda: other.study.tell(held.number, 91.0)):
        assert not session.run(search, job)
    assert states(search) == ["COMPLETE", "COMPLETE"]
    assert len(screen.said) == 1


@pytest.mark.usefixtures("held")
def test_ctrl_c_ends_the_wait(session: Session, search: StoredStudy, job: Job, screen: Listener) -> None:
    with once_it_waits(screen, lambda: os.kill(os.getpid(), signal.SIGINT)):
        assert session.run(search, job)
    assert states(search) == ["COMPLETE", "RUNNING"]


def test_a_time_limit_ends_the_wait(session: Session, search: StoredStudy, job: Job, held: optuna.Trial) -> None:
    limited = replace(job, settings=replace(job.settings, deadline=time.time() + 0.7))
    assert not session.run(search, limited)
    assert states(search) == ["COMPLETE", "RUNNING"]


def test_who_is_seen_from_here_is_not_waited_for(
    session: Session, search: StoredStudy, job: Job, screen: Listener
) -> None:
    for _ in range(2):
        claim(search, drawn(2))
    let_heartbeats_age(search.storage)  # the machine has slept
    assert not session.run(search, job)
    host = this_process().host
    assert screen.said == [f"Trials 0, 1: held by {host}, by other processes of this machine. {NOTHING_LEFT}"]


def test_what_another_plan_has_under_way_is_not_waited_for(
    session: Session, search: StoredStudy, code: Code, held: optuna.Trial, screen: Listener
) -> None:
    one = make_job(str(search.storage.url), code, FakeTask(), 1)
    assert not session.run(search, one)
    assert screen.said == []


def test_status_says_who_holds_what_and_when_it_is_released(search: StoredStudy, held: optuna.Trial) -> None:
    claim(search, drawn(3))
    let_heartbeats_age(search.storage, 100)
    status = describe_storage(search.storage)
    elsewhere, here = status.studies[0].holders
    assert (elsewhere.trial, elsewhere.host, here.trial, here.host) == (1, "node-7", 2, this_process().host)
    assert elsewhere.silent_seconds == pytest.approx(100, abs=10)
    assert elsewhere.released_in_seconds == 240 - elsewhere.silent_seconds
    assert here.released_in_seconds is None
    text = " ".join(shown(studies_table(status)).split())
    assert "small: Trial 1: held by node-7, last heard of 10" in text
    assert f"small: Trial 2: held by {this_process().host}, by other processes of this machine." in text
    let_heartbeats_age(search.storage)
    [row] = describe_storage(search.storage).studies
    assert (row.stale, [holder.trial for holder in row.holders]) == ((1,), [2])
