"""Hosts with names and process numbers of their own (`unshare`), one of which is lost in the middle of a search."""

import subprocess
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import psutil
from optuna.trial import FrozenTrial, TrialState

from benchmarks.counted import EVENT_AFTER, Database, search_to_end
from benchmarks.processes import light_search, started
from benchmarks.records import LostHost
from search.config import MAX_EPOCHS
from search.studies.facts import TrialFacts
from search.studies.storage import open_storage
from search.studies.study import FINISHED

WORKERS, TRIALS, EPOCH_SECONDS, SILENCE = 2, 60, 0.2, 20.0

NAMESPACES = ("unshare", "--uts", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")


def on_host(name: str, words: Sequence[str]) -> list[str]:
    """Runs a program on a host of its own, as it were: with a name and process numbers that no other host has."""
    return [*NAMESPACES, "sh", "-c", 'hostname "$0" && exec "$@"', name, *words]


def why_no_hosts() -> str | None:
    """Why there can be no hosts here; None if there can."""
    try:
        subprocess.run(on_host("a", ["true"]), check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        return f"hosts: unshare is refused here ({reason.strip()})"
    return None


def is_of_host(trial: FrozenTrial, name: str) -> bool:
    owner = TrialFacts.of(trial).owner
    return owner is not None and owner.host.split()[0] == name


def lose_host(url: str, folder: Path) -> LostHost:
    """Kills one of two hosts in the middle of a search."""
    database = Database(url=url, planned=TRIALS)
    open_storage(url, create=True).engine.dispose()
    words = light_search(url, trials=TRIALS, workers=WORKERS, epoch_seconds=EPOCH_SECONDS, silence=SILENCE)
    held: list[FrozenTrial] = []
    killed_at = datetime.max
    with started(on_host("a", words), folder / "a.log") as host:

        def kill_in_the_middle() -> None:
            nonlocal killed_at
            if held:
                return
            trials = database.trials()
            finished = sum(trial.state in FINISHED for trial in trials)
            if finished < EVENT_AFTER * TRIALS or not _held_by(trials, "a"):
                return
            [init] = psutil.Process(host.process.pid).children()
            init.kill()  # and with it all processes of its namespace
            host.process.wait()
            killed_at = datetime.now()
            held.extend(_held_by(database.trials(), "a"))

        begin = time.monotonic()
        starts = search_to_end(on_host("b", words), folder / "b.log", database, kill_in_the_middle)
        seconds = time.monotonic() - begin
    tickets = {TrialFacts.of(trial).ticket for trial in held}
    again = [
        trial.datetime_start
        for trial in database.trials()
        if trial.state in FINISHED and TrialFacts.of(trial).ticket in tickets and is_of_host(trial, "b")
    ]
    since = [(start - killed_at).total_seconds() for start in again if start is not None]
    return LostHost(
        workers=WORKERS,
        epochs=MAX_EPOCHS,
        epoch_seconds=EPOCH_SECONDS,
        silence=SILENCE,
        seconds=round(seconds, 1),
        held=len(held),
        taken_over=len(since),
        seconds_until_taken_over=round(max(since), 1) if held and len(since) == len(held) else None,
        starts=starts,
        tally=database.tally(),
    )


def _held_by(trials: Sequence[FrozenTrial], host: str) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state == TrialState.RUNNING and is_of_host(trial, host)]
