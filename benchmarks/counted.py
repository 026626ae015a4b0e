"""A database whose planned trials are counted, and a search that goes on until all of them are done."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from benchmarks.light_study import STUDY_NAME
from benchmarks.processes import started
from benchmarks.records import Tally
from search.config import ExplainedError
from search.studies.facts import TrialFacts
from search.studies.storage import open_storage
from search.studies.study import FINISHED, StoredStudy

LIMIT_SECONDS = 3_600.0  # for each search
POLL_SECONDS = 0.5
PAUSE_SECONDS = 2.0  # before a person starts a command again
EVENT_AFTER = 1 / 3  # of the trials: then a host is killed, or the server stopped


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database with a study of so many planned trials."""

    url: str
    planned: int

    def trials(self) -> list[FrozenTrial]:
        """All trials, by a connection of its own; none where there is no study yet."""
        storage = open_storage(self.url)
        try:
            if STUDY_NAME not in optuna.get_all_study_names(storage):
                return []
            return StoredStudy.load(storage, STUDY_NAME).trials()
        finally:
            storage.engine.dispose()

    def is_done(self) -> bool:
        return self.tally().missing == 0

    def tally(self) -> Tally:
        trials = self.trials()
        finished = [trial for trial in trials if trial.state in FINISHED]
        tickets = Counter(TrialFacts.of(trial).ticket for trial in finished)
        states = Counter(trial.state for trial in trials)
        return Tally(
            planned=self.planned,
            finished=len(finished),
            missing=len({*range(self.planned)} - tickets.keys()),
            twice=sum(count > 1 for count in tickets.values()),
            running=states[TrialState.RUNNING],
            interrupted=states[TrialState.FAIL],
        )


def search_to_end(words: Sequence[str], log: Path, database: Database, look: Callable[[], None]) -> int:
    """Starts a command, and again where it ends before the work is done; returns how often.

    Args:
        look: Called about twice a second.

    Raises:
        ExplainedError: If it takes too long.
    """
    end = time.monotonic() + LIMIT_SECONDS
    for starts in itertools.count(1):
        with started(words, log) as command:
            while not command.has_ended:
                time.sleep(POLL_SECONDS)
                look()
                if time.monotonic() > end:
                    raise ExplainedError(f"Not done within {LIMIT_SECONDS:.0f} seconds. {command.failure()}")
        if database.is_done():
            return starts
        time.sleep(PAUSE_SECONDS)
    raise AssertionError
