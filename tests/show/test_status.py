"""What a storage holds, study by study."""

from datetime import UTC, datetime

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from recording import add_runs, add_seed, open_reranking

from search.proof.summaries import StudyRow
from search.runs.standings import leading_trials
from search.show.status import describe_storage
from search.studies.facts import TrialFacts
from search.studies.study import StoredStudy


def row_of(storage: RDBStorage, name: str) -> StudyRow:
    [row] = [row for row in describe_storage(storage).studies if row.study_name == name]
    return row


def test_an_empty_storage_has_no_rows(storage: RDBStorage, storage_url: str) -> None:
    found = describe_storage(storage)
    assert (found.storage, found.studies) == (storage_url, ())


def test_a_row_tells_live_trials_from_stale_ones(search_study: StoredStudy) -> None:
    search_study.study.add_trial(create_trial(state=TrialState.RUNNING))  # its owner died before saying so
    row = row_of(search_study.storage, "small")
    assert (row.trials.total, row.trials.complete, row.trials.pruned) == (3, 2, 1)
    assert (row.running, row.stale) == (2, (5,))
    assert (row.best, row.best_trial) == (98.5, 2)
    assert (row.study_name, row.kind, row.dataset) == ("small", "search", "sample")


def test_a_row_tells_interrupted_trials_from_failed_ones(search_study: StoredStudy) -> None:
    broken = TrialFacts(fail_reason="OutOfMemoryError: 12 GB").as_attributes()
    for attributes in (broken, broken, {}):
        search_study.study.add_trial(create_trial(state=TrialState.FAIL, user_attrs=attributes))
    counts = row_of(search_study.storage, "small").trials
    assert (counts.interrupted, counts.failed, counts.total) == (2, 2, 3)


def test_a_row_says_when_a_trial_last_ended(search_study: StoredStudy) -> None:
    before = row_of(search_study.storage, "small").last_active
    search_study.study.tell(4, 99.0)  # hours after the command began, say
    ended = search_study.trials()[4].datetime_complete
    assert ended is not None
    after = row_of(search_study.storage, "small").last_active
    assert before is not None
    assert after is not None
    assert after == ended.astimezone(UTC).isoformat(timespec="milliseconds") > before
    assert datetime.fromisoformat(after).tzinfo is not None


@pytest.mark.parametrize("kind", ["rerank", "verify"])
def test_what_follows_a_search_has_a_row_without_a_best(
    search_study: StoredStudy, verification: StoredStudy, kind: str
) -> None:
    leading = leading_trials(search_study, 1)
    reranking = open_reranking(search_study, 1)
    add_runs(reranking, leading[0], 98.0, 98.0)
    add_seed(verification, 10_000)
    add_seed(verification, 10_001)
    row = row_of(search_study.storage, reranking.name if kind == "rerank" else verification.name)
    assert (row.kind, row.dataset, row.trials.complete) == (kind, "sample", 2)
    assert (row.best, row.best_trial) == (None, None)


def test_a_study_of_another_program_has_a_row_too(storage: RDBStorage) -> None:
    foreign = optuna.create_study(storage=storage, study_name="foreign", directions=["minimize", "maximize"])
    foreign.add_trial(create_trial(state=TrialState.RUNNING))
    foreign.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"seconds": "for ages"}))  # unlike ours
    row = row_of(storage, "foreign")
    assert (row.study_name, row.kind, row.dataset, row.best) == ("foreign", None, None, None)
    assert (row.running, row.stale) == (1, ())  # whose workers are not ours to judge
    assert (row.trials.interrupted, row.trials.failed) == (0, 1)


def test_a_study_that_nothing_happened_in_was_never_active(storage: RDBStorage) -> None:
    optuna.create_study(storage=storage, study_name="foreign")
    assert row_of(storage, "foreign").last_active is None
