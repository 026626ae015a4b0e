"""What a storage holds, study by study."""

from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.proof.records import StorageStatus, StudyRow
from search.show.totals import count_trials
from search.studies.kinds import Kind
from search.studies.storage import hide_password
from search.studies.study import StoredStudy, load_studies
from search.studies.tickets import find_dead_trials


def describe_storage(storage: RDBStorage) -> StorageStatus:
    """Every study of a storage."""
    return StorageStatus(
        storage=hide_password(str(storage.url)),
        studies=tuple(_describe_study(stored) for stored in load_studies(storage)),
    )


def _describe_study(stored: StoredStudy) -> StudyRow:
    """Of another tool's study only what all studies have."""
    trials, kind = stored.trials(), stored.kind
    # The best of a verification's seeds says nothing, nor does the best of an ablation's rungs.
    best = stored.best_trial() if kind == Kind.SEARCH else None
    return StudyRow(
        study_name=stored.name,
        kind=kind,
        dataset=stored.facts.dataset if kind is not None else None,
        trials=count_trials(trials),
        running=sum(trial.state == TrialState.RUNNING for trial in trials),
        stale=tuple(trial.number for trial in find_dead_trials(stored)) if kind is not None else (),
        best=best.value if best is not None else None,
        best_trial=best.number if best is not None else None,
        last_active=stored.last_active() or None,
    )
