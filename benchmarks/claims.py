"""How long a claim takes, by how many trials are recorded, and how long others wait meanwhile."""

import statistics
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from optuna.trial import TrialState

from benchmarks.command import tell
from benchmarks.databases import BACKENDS, available_backends, copy_rows
from benchmarks.light_study import STUDY_NAME, build_study
from benchmarks.records import ClaimRow
from search.config import DEFAULT_MAX_PARAMS
from search.studies.plan import DrawnPlan
from search.studies.storage import open_storage
from search.studies.study import StoredStudy
from search.studies.tickets import claim_trial
from search.studies.turns import exclusive

RECORDED_FOR_CLAIMS = (100, 1_000, 10_000)
NUM_CLAIMS = 9  # after the first
TURN_SECONDS = 0.02  # between two turns of who waits for them


def measure_claims(url: str, backend: str, num_recorded: int) -> ClaimRow:
    """How long claims take in a process that has just opened the study."""
    storage = open_storage(url)
    stored = StoredStudy.load(storage, STUDY_NAME)
    plan = DrawnPlan(num_trials=num_recorded + 1 + NUM_CLAIMS, sampler_name="tpe", seed=0)
    seconds = []
    with taking_turns(url) as waited:
        for _ in range(1 + NUM_CLAIMS):
            start = time.perf_counter()
            trial = claim_trial(stored, plan)
            seconds.append(time.perf_counter() - start)
            assert trial is not None
            stored.study.tell(trial, state=TrialState.PRUNED)
    storage.engine.dispose()
    return ClaimRow(
        backend=backend,
        recorded=num_recorded,
        first_seconds=round(seconds[0], 4),
        seconds=round(statistics.median(seconds[1:]), 4),
        others_waited=round(max(waited), 4),
    )


@contextmanager
def taking_turns(url: str) -> Iterator[list[float]]:
    """Takes the database's lock again and again, in a thread; gives the seconds that each turn was waited for."""
    waited: list[float] = []
    done = threading.Event()

    def take_turns() -> None:
        storage = open_storage(url)
        while not done.wait(TURN_SECONDS):
            start = time.perf_counter()
            with exclusive(storage):
                waited.append(time.perf_counter() - start)
        storage.engine.dispose()

    thread = threading.Thread(target=take_turns)
    thread.start()
    while not waited and thread.is_alive():
        time.sleep(TURN_SECONDS)
    try:
        yield waited
    finally:
        done.set()
        thread.join()


def claim_rows(recorded: tuple[int, ...]) -> Generator[ClaimRow, None, None]:
    with TemporaryDirectory() as folder:
        for num_recorded in recorded:
            built = f"sqlite:///{folder}/built-{num_recorded}.db"
            build_study(built, num_recorded, DEFAULT_MAX_PARAMS)
            for backend in available_backends(tell):
                with TemporaryDirectory() as place, BACKENDS[backend](Path(place)) as new_database:
                    url = new_database(num_recorded)
                    open_storage(url, create=True).engine.dispose()
                    copy_rows(built, url)
                    yield measure_claims(url, backend, num_recorded)
