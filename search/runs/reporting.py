"""Stored trials, summed up: what a search has come to, as a record and as files."""

import contextlib
import csv
import io
from pathlib import Path

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from ..config import ExplainedError
from ..files import write_atomically
from ..net.datasets import dataset_row
from ..proof.parts import RecordError
from ..proof.summaries import FailedTrial, SearchedTrial, SearchedWith, StudySummary
from ..settings import SUMMARY
from ..show.totals import busy_seconds, count_epochs, count_trials
from ..studies.facts import FactsError, TrialFacts
from ..studies.finding import find_search_study
from ..studies.study import StoredStudy, count_since_best
from ..studies.urls import hide_password
from .models import WINNER_MODEL, find_winner_model
from .standings import Ranking, leading_trials, read_ranking
from .winner import find_winner

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
    """The whole search. Changes nothing."""
    trials, study, binding = search.trials(), search.facts, search.binding
    facts = [TrialFacts.of(trial) for trial in trials]
    winner = find_winner(search, ranking)
    dataset = dataset_row(binding.dataset)
    model = find_winner_model(folder, winner, ranking, binding.epochs)
    return StudySummary(
        study_name=search.name,
        storage=hide_password(str(search.storage.url)),
        dataset=binding.dataset,
        judged=dataset.judged,
        target=float(dataset.target) if dataset.target is not None else None,
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
            warm_start=study.warm_start,
        ),
        trials=count_trials(trials),
        epochs=count_epochs(trials, binding.epochs),
        seconds=round(busy_seconds(trials), 1),
        peak_memory_mb=max((each.worker_peak_memory_mb or 0 for each in facts), default=0) or None,
        winner=_describe_searched(winner),
        best=_describe_searched(search.best_trial()),
        reranking=ranking.describe() if ranking is not None else None,
        winner_model=WINNER_MODEL if model.source is not None else None,
        winner_model_missing=model.missing,
        stalled=study.patience is not None and count_since_best(search) >= study.patience,
    )


def describe_leaders(storage: RDBStorage, name: str, most: int) -> tuple[SearchedTrial, ...]:
    """The leading trials of a search. Raises StudyError if there is no search of that name."""
    leading = leading_trials(find_search_study(storage, name), most)
    return tuple(found for trial in leading if (found := _describe_searched(trial)) is not None)


def standing_of(storage: RDBStorage, name: str, results_dir: Path) -> StudySummary | None:
    """A search as far as it is; None if it is damaged. Raises StudyError as `describe_leaders` does."""
    search = find_search_study(storage, name)
    with contextlib.suppress(ExplainedError):  # the damage is told with its study
        return summarise(search, read_ranking(search), results_dir / search.name)
    return None


def describe_failures(storage: RDBStorage, name: str, most: int) -> tuple[FailedTrial, ...]:
    """The last trials of a search that have failed, and why. Raises StudyError as `describe_leaders` does."""
    failed = []
    for trial in find_search_study(storage, name).trials((TrialState.FAIL,)):
        with contextlib.suppress(FactsError):  # a damaged one hides no other
            reason = TrialFacts.of(trial).fail_reason
            if reason is not None:
                failed.append(FailedTrial(number=trial.number, reason=reason))
    return tuple(failed[-most:])


def _describe_searched(trial: FrozenTrial | None) -> SearchedTrial | None:
    if trial is None:
        return None
    facts = TrialFacts.of_network(trial)
    return SearchedTrial.model_validate(
        {
            "number": trial.number,
            "val_accuracy": trial.value,
            "num_params": facts.num_params,
            **facts.network,
            "params": trial.params,
        }
    )


def recorded_summary(folder: Path) -> StudySummary | None:
    """The search whose records are in a folder; None where there are none that can be read."""
    try:
        return StudySummary.read(folder / SUMMARY)
    except (RecordError, OSError):
        return None


def is_of_another_study(recorded: StudySummary, search: StoredStudy) -> bool:
    """Whether a record is of a study of the same name in another database, which is no copy of this one."""
    best, trials = recorded.best, search.trials()
    known = best is None or (best.number < len(trials) and trials[best.number].params == best.params)
    return recorded.storage != hide_password(str(search.storage.url)) and not known


def files_of(
    search: StoredStudy, ranking: Ranking | None, summary: StudySummary, folder: Path
) -> dict[Path, bytes | None]:
    """What the results of a search should hold, by its place; None for what must not be there, like a former winner.

    Args:
        ranking: That which the summary was made with.
    """
    source = find_winner_model(folder, find_winner(search, ranking), ranking, search.binding.epochs).source
    return {
        folder / WINNER_MODEL: source.read_bytes() if source is not None else None,
        folder / SUMMARY: summary.to_json().encode(),
        folder / "trials.csv": _table(search.trials()).encode(),
    }


def write_search_records(search: StoredStudy, ranking: Ranking | None, folder: Path) -> StudySummary:
    """Writes `summary.json` and `trials.csv`, and puts the winner's model where the summary says that it is."""
    summary = summarise(search, ranking, folder)
    for path, content in files_of(search, ranking, summary, folder).items():
        if content is None:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, content)
    return summary


def _table(trials: list[FrozenTrial]) -> str:
    params = sorted({name for trial in trials for name in trial.params})
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["number", "state", "reason", "ticket", "val_accuracy", *COLUMNS, *params])
    for trial in trials:
        facts = TrialFacts.of(trial)
        recorded = facts.as_attributes()
        row = [trial.number, trial.state.name, facts.reason, facts.ticket, trial.value]
        row += [recorded.get(name) for name in COLUMNS]
        writer.writerow([*row, *(trial.params.get(name) for name in params)])
    return buffer.getvalue()
