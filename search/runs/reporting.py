"""Stored trials, summed up: what a search has come to, as a record and as files."""

import csv
import io
from pathlib import Path

from optuna.trial import FrozenTrial

from search.files import write_atomically
from search.net.datasets import dataset_row
from search.net.model_file import read_origin
from search.proof.records import ModelOrigin, SearchedTrial, SearchedWith, StudySummary
from search.runs.reranking import model_path
from search.runs.standings import Ranking
from search.runs.winner import find_winner
from search.settings import BEST_MODEL
from search.show.totals import busy_seconds, count_epochs, count_trials
from search.studies.facts import TrialFacts
from search.studies.storage import hide_password
from search.studies.study import StoredStudy

WINNER_MODEL = "winner.safetensors"
COLUMNS = (  # of `trials.csv`, between a trial's value and its parameters
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
)


def summarise(search: StoredStudy, ranking: Ranking | None, folder: Path) -> StudySummary:
    """The whole search; puts the winner's model where the summary says that it is."""
    trials, study, binding = search.trials(), search.facts, search.binding
    facts = [TrialFacts.of(trial) for trial in trials]
    winner = find_winner(search, ranking)
    dataset = dataset_row(binding.dataset)
    return StudySummary(
        study_name=search.name,
        storage=hide_password(str(search.storage.url)),
        dataset=binding.dataset,
        judged=dataset.judged,
        target=float(dataset.target),
        device="+".join(sorted({each.device for each in facts if each.device is not None})) or None,
        settings=SearchedWith(
            max_params=binding.max_params,
            epochs=binding.epochs,
            sampler=study.sampler,
            pruner=study.pruner,
            seed=study.seed,
            split=binding.split,
            space=binding.space,
            recipe=binding.recipe,
            commit=study.commit,
            versions=study.versions,
        ),
        trials=count_trials(trials),
        epochs=count_epochs(trials, binding.epochs),
        seconds=round(busy_seconds(trials), 1),
        peak_memory_mb=max((each.worker_peak_memory_mb or 0 for each in facts), default=0) or None,
        winner=_describe_searched(winner),
        best=_describe_searched(search.best_trial()),
        reranking=ranking.describe() if ranking is not None else None,
        winner_model=_keep_winner_model(folder, winner, ranking, binding.epochs),
    )


def _describe_searched(trial: FrozenTrial | None) -> SearchedTrial | None:
    if trial is None:
        return None
    facts = TrialFacts.of(trial)
    return SearchedTrial.model_validate(
        {
            "number": trial.number,
            "val_accuracy": trial.value,
            "num_params": facts.num_params,
            "channels": facts.channels,
            "params": trial.params,
        }
    )


def _keep_winner_model(folder: Path, winner: FrozenTrial | None, ranking: Ranking | None, epochs: int) -> str | None:
    """Puts the winner's model under its own name; None where it is not at hand (trained on another host, say)."""
    target = folder / WINNER_MODEL
    reranked = ranking.winner if ranking is not None else None
    source, accuracies = folder / BEST_MODEL, {winner.value} if winner is not None else set()
    if reranked is not None:
        source, accuracies = model_path(folder, reranked.trial.number), set(reranked.accuracies)
    if winner is None or not _is_model_of(source, winner, accuracies, epochs):
        target.unlink(missing_ok=True)  # an earlier winner's
        return None
    write_atomically(target, source.read_bytes())
    return target.name


def _is_model_of(path: Path, trial: FrozenTrial, accuracies: set[float | None], epochs: int) -> bool:
    """An earlier study of this name may have left a file; or a trial of another host have come to lead."""
    try:
        origin = ModelOrigin.model_validate_json(read_origin(path))
    except (FileNotFoundError, ValueError):
        return False
    same_run = (origin.trial, origin.epochs) == (trial.number, epochs) and origin.val_accuracy in accuracies
    return same_run and origin.config.model.channels == TrialFacts.of(trial).channels


def write_search_records(search: StoredStudy, summary: StudySummary, folder: Path) -> None:
    """Writes `summary.json` and `trials.csv`."""
    summary.write(folder / "summary.json")
    trials = search.trials()
    params = sorted({name for trial in trials for name in trial.params})
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["number", "state", "ticket", "val_accuracy", *COLUMNS, *params])
    for trial in trials:
        recorded = TrialFacts.of(trial).as_attributes()
        row = [trial.number, trial.state.name, recorded.get("ticket"), trial.value]
        row += [recorded.get(name) for name in COLUMNS]
        writer.writerow([*row, *(trial.params.get(name) for name in params)])
    write_atomically(folder / "trials.csv", buffer.getvalue())
