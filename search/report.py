"""Stored records, summed up: what a study has come to, as values and as files."""

import csv
import io
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.files import write_atomically
from search.storage import hide_password
from search.study import FINISHED, best_trial, last_active
from search.tickets import find_dead_trials

# What a search was made with; the sampler, the pruner and the seed are those of its last command.
SETTINGS = ("max_params", "epochs", "sampler", "pruner", "seed", "split", "space", "recipe", "commit", "versions")


def summarise(
    study: optuna.Study,
    storage_url: str,
    reranking: dict[str, Any] | None = None,
    winner: FrozenTrial | None = None,
) -> dict[str, Any]:
    """The whole study in one JSON object (`search --json`), with its re-ranking and winner (`search.rerank`)."""
    trials = study.get_trials(deepcopy=False)
    peaks = [trial.user_attrs.get("worker_peak_memory_mb", 0) for trial in trials]
    devices = sorted({trial.user_attrs["device"] for trial in trials if "device" in trial.user_attrs})
    return {
        "study_name": study.study_name,
        "storage": hide_password(storage_url),
        "dataset": study.user_attrs["dataset"],
        "device": "+".join(devices) or None,
        "settings": {key: study.user_attrs.get(key) for key in SETTINGS},
        "trials": count_trials(trials),
        "epochs": {
            "trained": sum(epochs_trained(trial) for trial in trials),
            "saved_by_pruning": epochs_saved(trials, study.user_attrs["epochs"]),
        },
        "seconds": round(busy_seconds(trials), 1),
        "peak_memory_mb": max(peaks, default=0) or None,
        "winner": describe_searched(winner),
        "best": describe_searched(best_trial(study)),
        "rerank": reranking,
    }


def count_trials(trials: Iterable[FrozenTrial]) -> dict[str, int]:
    """Trials by outcome; the total counts those that reached one: complete and pruned."""
    states = [trial.state for trial in trials]
    complete, pruned = states.count(TrialState.COMPLETE), states.count(TrialState.PRUNED)
    return {
        "total": complete + pruned,
        "complete": complete,
        "pruned": pruned,
        "failed": states.count(TrialState.FAIL),
    }


def describe_searched(trial: FrozenTrial | None) -> dict[str, Any] | None:
    if trial is None:
        return None
    return {
        "number": trial.number,
        "val_accuracy": trial.value,
        "num_params": trial.user_attrs["num_params"],
        "channels": trial.user_attrs["channels"],
        "params": trial.params,
    }


def epochs_trained(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get("epochs", 0))


def epochs_saved(trials: Iterable[FrozenTrial], epochs: int) -> int:
    """The epochs that pruned trials did not train."""
    return sum(epochs - epochs_trained(trial) for trial in trials if trial.state == TrialState.PRUNED)


def busy_seconds(trials: Iterable[FrozenTrial]) -> float:
    """For how long at least one trial was running: the study's wall time, pauses between commands left out."""
    spans = sorted((trial.datetime_start, _end(trial)) for trial in trials if trial.datetime_start is not None)
    total, covered_to = timedelta(), datetime.min
    for start, end in spans:
        total += max(end - max(start, covered_to), timedelta())
        covered_to = max(covered_to, end)
    return total.total_seconds()


def seconds_left(trials: list[FrozenTrial], total: int, epochs: int, num_workers: int) -> float | None:
    """An estimate from the pace so far: seconds per epoch, and epochs per finished trial. None before any epoch."""
    num_epochs = sum(epochs_trained(trial) for trial in trials)
    if num_epochs == 0:
        return None
    pace = sum(float(trial.user_attrs.get("seconds", 0)) for trial in trials) / num_epochs
    finished = [trial for trial in trials if trial.state in FINISHED]
    per_trial = sum(epochs_trained(trial) for trial in finished) / len(finished) if finished else epochs
    under_way = sum(epochs_trained(trial) for trial in trials if trial.state == TrialState.RUNNING)
    return max(0.0, pace * ((total - len(finished)) * per_trial - under_way) / max(1, num_workers))


def describe_study(study: optuna.Study, storage: RDBStorage) -> dict[str, Any]:
    """A study in one row (`status`); of another tool's study only what all studies have."""
    trials = study.get_trials(deepcopy=False)
    ours = "kind" in study.user_attrs
    # The best of a verification's seeds says nothing, nor does the best of an ablation's rungs.
    best = best_trial(study) if study.user_attrs.get("kind") == "search" else None
    return {
        "study_name": study.study_name,
        "kind": study.user_attrs.get("kind"),
        "dataset": study.user_attrs.get("dataset"),
        "trials": count_trials(trials),
        "running": sum(trial.state == TrialState.RUNNING for trial in trials),
        "stale": [trial.number for trial in find_dead_trials(study, storage)] if ours else [],
        "best": best.value if best is not None else None,
        "best_trial": best.number if best is not None else None,
        "last_active": last_active(study) or None,
    }


def write_search_records(study: optuna.Study, summary: dict[str, Any], folder: Path) -> None:
    """Writes `summary.json` and `trials.csv`."""
    write_atomically(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    trials = study.get_trials(deepcopy=False)
    params = sorted({name for trial in trials for name in trial.params})
    attributes = [
        "num_params",
        "channels",
        "epochs",
        "seconds",
        "worker_peak_memory_mb",
        "train_loss",
        "val_loss",
        "device",
        "precision",
        "seed",
    ]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["number", "state", "ticket", "val_accuracy", *attributes, *params])
    for trial in trials:
        recorded = [trial.user_attrs.get(name) for name in attributes]
        row = [trial.number, trial.state.name, trial.user_attrs.get("ticket"), trial.value, *recorded]
        writer.writerow([*row, *(trial.params.get(name) for name in params)])
    write_atomically(folder / "trials.csv", buffer.getvalue())


class NoteKeeper:
    """Keeps the dashboard's notes true: what the study is, and which trial leads."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._noted: object = object()  # nothing yet

    def update(self) -> None:
        """Writes the notes where the leader has changed."""
        best = best_trial(self._study)
        leader = best.number if best is not None else None
        if leader != self._noted:
            _write_notes(self._study, best)
            self._noted = leader

    def name_winner(self, winner: FrozenTrial, mean: float) -> None:
        """Writes which trial has won the re-ranking, with the mean accuracy of its further runs."""
        self.update()
        _write_notes(self._study, best_trial(self._study), winner, mean)
        self._noted = object()  # a later leader replaces it


def _write_notes(
    study: optuna.Study, best: FrozenTrial | None, winner: FrozenTrial | None = None, mean: float | None = None
) -> None:
    from optuna_dashboard import save_note

    attributes = study.user_attrs
    paragraphs = [
        f"Tiny networks for MNIST (data set: {attributes['dataset']}) of at most **{attributes['max_params']:,} "
        f"parameters**, trained for at most **{attributes['epochs']} epochs**.",
        "The objective is the accuracy on held-out *validation* digits, in percent, after the last epoch, with 27 "
        "views of each digit; intermediate values are those of one view. A search never opens the test digits.",
        "`num_params`, `channels` and `epochs` are user attributes of every trial.",
    ]
    if best is not None:
        described = f"trial {best.number}, {best.value:.2f} % with {_describe_network(best)}"
        paragraphs.append(f"Best single run so far: {described}.")
        note = f"The best when it ended: {described}. Re-ranking decides what `python cli.py verify-best` proves."
        save_note(optuna.Trial(study, best._trial_id), note)
    if winner is not None:
        described = f"trial {winner.number}, {mean:.3f} % on average over its further runs, {_describe_network(winner)}"
        paragraphs.append(f"**Winner of the re-ranking: {described}.** `python cli.py verify-best` proves it.")
        save_note(optuna.Trial(study, winner._trial_id), f"Winner of the re-ranking: {described}.")
    save_note(study, "\n\n".join(paragraphs))


def _describe_network(trial: FrozenTrial) -> str:
    attributes = trial.user_attrs
    return f"{attributes['num_params']:,} parameters, channels {format_channels(attributes['channels'])}"


def format_channels(channels: Iterable[Iterable[int]]) -> str:
    """For example "8,10 / 12,14 / 15,16"."""
    return " / ".join(",".join(str(width) for width in stage) for stage in channels)


def _end(trial: FrozenTrial) -> datetime:
    assert trial.datetime_start is not None
    if trial.state in FINISHED and trial.datetime_complete is not None:
        return trial.datetime_complete
    # A dead worker's trial is failed whenever that is noticed; what it trained says how long it lived.
    return trial.datetime_start + timedelta(seconds=float(trial.user_attrs.get("seconds", 0)))
