"""The record of a frontier, and what the ledger knows that bears on it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from evidence import CONFIG, make_point, make_proof, make_summary, make_tested
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.config import RECIPE
from search.net.datasets import DATASETS
from search.proof import tested as records
from search.proof.frontier import Frontier, FrontierPoint
from search.proof.ledger import entries_of
from search.proof.summaries import TrialCounts
from search.proof.tested import Subject
from search.runs import history, tracing
from search.runs.frontiers import write_frontier
from search.runs.history import read_ledger
from search.runs.looks import append
from search.runs.session import Session
from search.studies.lines import add_line
from search.studies.study import StoredStudy

WriteFrontier = Callable[..., Frontier]
SUBJECT = Subject.of(CONFIG, dataset="mnist", epochs=15, recipe=RECIPE)
OTHER = Subject.of(replace(CONFIG, lr=0.03), dataset="mnist", epochs=15, recipe=RECIPE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "frontier-mnist-15e" / "frontier.json"


@pytest.fixture
def write(storage: RDBStorage, path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteFrontier:
    """Puts points on record, by what else is known here."""
    monkeypatch.setattr("search.runs.frontiers._draw", lambda _: None)

    def write(*points: FrontierPoint) -> Frontier:
        named = {point.max_params: point for point in points}
        return write_frontier(storage, path, named, DATASETS["mnist"], epochs=15, space="0123", target=99.4)

    return write


def seen(*errors: int, budget: int, **changes: Any) -> records.Tested:
    """What was measured of a search's winner."""
    found = make_tested(*errors, subject=SUBJECT, study_name=f"mnist-{budget}p-15e", trial=7)
    return records.Tested.model_validate({**dict(found), **changes})


def put_on_record(storage: RDBStorage, folder: Path, tested: records.Tested) -> None:
    for entry in entries_of(tested):
        append(storage, folder, entry)


def begun(max_params: int, **changes: Any) -> FrontierPoint:
    """A budget of which nothing was seen."""
    return make_point(max_params).model_copy(update={"subject": SUBJECT, **changes})


def test_a_budget_that_is_asked_for_after_others_were_proved_without_a_frontier_says_so(
    storage: RDBStorage, path: Path, write: WriteFrontier
) -> None:
    for budget in (2_000, 2_500, 3_000):
        tested = seen(60, budget=budget, subject=replace_lr(budget))
        put_on_record(storage, path.parent.parent / tested.study_name, tested)
    record = write(FrontierPoint(max_params=3_000), FrontierPoint(max_params=4_000))
    assert [point.tested_before for point in record.points] == [2, 3]
    path.unlink()
    assert [point.tested_before for point in write(FrontierPoint(max_params=3_000)).points] == [2]


def replace_lr(value: int) -> Subject:
    return Subject.of(replace(CONFIG, lr=value / 1e6), dataset="mnist", epochs=15, recipe=RECIPE)


def test_budgets_that_are_asked_for_together_owe_nothing_to_one_another(write: WriteFrontier) -> None:
    write(FrontierPoint(max_params=1_000), FrontierPoint(max_params=2_000))
    record = write(begun(1_000, tested=seen(70, budget=1_000)))
    record = write(begun(2_000))
    assert [point.tested_before for point in record.points] == [0, 0]
    assert [point.tested_before for point in write(FrontierPoint(max_params=3_000)).points] == [0, 0, 1]


def test_what_another_command_has_found_at_other_budgets_stays(write: WriteFrontier) -> None:
    write(FrontierPoint(max_params=1_000), FrontierPoint(max_params=2_000))
    write(begun(2_000, tested=seen(61, budget=2_000)))
    record = write(begun(1_000))
    assert [(point.trial, point.errors) for point in record.points] == [(7, ()), (7, (61,))]


def test_this_projects_own_trials_are_not_told_as_others_of_a_users_search(
    storage: RDBStorage, path: Path, write: WriteFrontier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = seen(58, budget=1_000, subject=OTHER, trial=68)
    committed = tmp_path / "committed"
    proof = make_proof([58], config=replace(CONFIG, lr=0.03), recipe=RECIPE, study_name=own.study_name, trial=68)
    proof.write(committed / "verify.json")
    monkeypatch.setattr(history, "COMMITTED", (committed,))
    for entry in entries_of(proof.tested[0]):  # as `reproduce` has learnt
        add_line(storage, entry.id, entry.model_dump_json())
    [point] = write(begun(1_000)).points
    assert (point.others, point.was_tested, point.tested_before) == ((), False, 0)
    put_on_record(storage, path.parent.parent / "mine", seen(59, budget=1_000, subject=replace_lr(8), trial=8))
    [point] = write(begun(1_000)).points
    assert [each.trial for each in point.others] == [8]


def test_a_ladder_of_another_trial_is_told_and_the_winners_own_is_not(
    storage: RDBStorage, path: Path, write: WriteFrontier
) -> None:
    for trial, lr in ((7, 0.011), (7, 0.012), (5, 0.013)):
        subject = Subject.of(replace(CONFIG, lr=lr), dataset="mnist", epochs=15, recipe=RECIPE)
        rung = seen(50, budget=1_000, trial=trial, subject=subject, asked=())
        [row] = rung.seeds
        tested = rung.model_copy(update={"seeds": (row.model_copy(update={"command": "ablate"}),)})
        put_on_record(storage, path.parent.parent / "small", tested)
    [point] = write(begun(1_000)).points
    assert [(look.trial, look.num_runs) for look in point.other_looks] == [(5, 1)]
    assert point.was_tested


@pytest.mark.parametrize("place", ["small", "machine-b/small"])
def test_what_another_machine_has_seen_counts_from_a_folder_or_a_whole_folder_of_results(
    place: str, storage: RDBStorage, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    make_proof([61]).write(results / place / "verify.json")
    found = read_ledger(storage, results).tested(make_proof([61]).subject)
    assert found is not None
    assert [row.errors for row in found.seeds] == [61]


# A search that goes on, or is made anew


@pytest.fixture
def session(search_study: StoredStudy) -> Session:
    found = create_autospec(Session, instance=True)
    found.storage = search_study.storage
    return found


def unsettled(search: StoredStudy) -> Any:
    trials = TrialCounts(complete=60, pruned=0, failed=0, interrupted=0)
    return make_summary(study_name=search.name, trials=trials, winner=None)


def test_the_winner_before_stands_until_a_longer_search_has_another(
    search_study: StoredStudy, session: Session
) -> None:
    trial = search_study.trials((TrialState.COMPLETE,))[0]
    earned = make_point(1_000).earned
    known = begun(1_000, study_name=search_study.name, trial=trial.number, params=dict(trial.params), earned=earned)
    point = tracing._with_search(known, unsettled(search_study), session)
    assert (point.num_trials, point.trial, point.subject) == (60, known.trial, known.subject)
    assert point.earned == known.earned


@pytest.mark.parametrize("trial", [0, 99])
def test_a_search_that_was_deleted_and_made_anew_has_no_winner_before_it_is_settled(
    trial: int, search_study: StoredStudy, session: Session
) -> None:
    known = begun(1_000, study_name=search_study.name, trial=trial, params={"lr": 0.123})
    point = tracing._with_search(known, unsettled(search_study), session)
    assert (point.num_trials, point.trial, point.subject) == (60, None, None)
