import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import get_note

from search import report
from search.study import best_trial

MIDNIGHT = datetime(2026, 1, 1)
STATES = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]


def make_trial(state: TrialState, start: int, wall: int, **user_attrs: object) -> FrozenTrial:
    """A trial that started `start` seconds after midnight, and whose end was noted `wall` seconds later."""
    begun = MIDNIGHT + timedelta(seconds=start)
    return FrozenTrial(
        number=0,
        trial_id=0,
        state=state,
        value=98.0 if state == TrialState.COMPLETE else None,
        datetime_start=begun,
        datetime_complete=begun + timedelta(seconds=wall) if state.is_finished() else None,
        params={},
        distributions={},
        user_attrs=user_attrs,
        system_attrs={},
        intermediate_values={},
    )


def test_the_total_counts_trials_that_reached_an_outcome(search_study: optuna.Study) -> None:
    counts = report.count_trials(search_study.get_trials())
    assert counts == {"total": 3, "complete": 2, "pruned": 1, "failed": 1}


def test_only_pruned_trials_save_epochs(search_study: optuna.Study) -> None:
    trials = search_study.get_trials()
    assert [report.epochs_trained(trial) for trial in trials] == [4, 1, 4, 1, 2]
    assert report.epochs_saved(trials, epochs=4) == 3


def test_a_trial_pruned_untrained_saves_all_its_epochs() -> None:
    assert report.epochs_saved([make_trial(TrialState.PRUNED, 0, 1)], epochs=15) == 15


def test_parallel_trials_are_busy_once() -> None:
    trials = [make_trial(TrialState.COMPLETE, 0, 10), make_trial(TrialState.PRUNED, 4, 8)]
    assert report.busy_seconds(trials) == 12


def test_pauses_between_commands_are_not_busy() -> None:
    trials = [make_trial(TrialState.COMPLETE, 5_000, 10), make_trial(TrialState.COMPLETE, 0, 10)]
    assert report.busy_seconds(trials) == 20


def test_an_interrupted_trial_is_busy_for_what_it_trained_not_until_it_was_noticed() -> None:
    assert report.busy_seconds([make_trial(TrialState.FAIL, 0, 86_400, seconds=7.0)]) == 7
    assert report.busy_seconds([make_trial(TrialState.FAIL, 0, 86_400)]) == 0


def test_nothing_run_is_zero_seconds() -> None:
    waiting = make_trial(TrialState.RUNNING, 0, 0)
    waiting.state, waiting.datetime_start = TrialState.WAITING, None
    assert report.busy_seconds([]) == report.busy_seconds([waiting]) == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STATES), st.integers(0, 60), st.integers(0, 20), st.integers(0, 20))))
def test_busy_seconds_are_those_in_which_any_trial_runs(plan: list[tuple[TrialState, int, int, int]]) -> None:
    trials = [make_trial(state, start, wall, seconds=trained) for state, start, wall, trained in plan]
    busy = {
        second
        for state, start, wall, trained in plan
        for second in range(start, start + (wall if state in (TrialState.COMPLETE, TrialState.PRUNED) else trained))
    }
    assert report.busy_seconds(trials) == len(busy)


def test_time_left_is_unknown_before_the_first_epoch() -> None:
    assert report.seconds_left([], total=10, epochs=15, num_workers=1) is None
    assert report.seconds_left([make_trial(TrialState.RUNNING, 0, 0)], total=10, epochs=15, num_workers=1) is None


def test_time_left_is_known_from_the_first_epoch_on() -> None:
    running = make_trial(TrialState.RUNNING, 0, 0, epochs=1, seconds=3.0)
    # 10 trials of 15 epochs of 3 seconds, but for the epoch that is done
    assert report.seconds_left([running], total=10, epochs=15, num_workers=1) == 3 * 149
    assert report.seconds_left([running], total=10, epochs=15, num_workers=2) == 3 * 149 / 2


def test_time_left_expects_trials_to_be_pruned_as_they_were() -> None:
    complete = make_trial(TrialState.COMPLETE, 0, 30, epochs=15, seconds=30.0)
    pruned = make_trial(TrialState.PRUNED, 0, 10, epochs=5, seconds=10.0)
    assert report.seconds_left([complete, pruned], total=4, epochs=15, num_workers=1) == 2 * 10 * 2


def test_no_time_is_left_at_the_end() -> None:
    complete = make_trial(TrialState.COMPLETE, 0, 30, epochs=15, seconds=30.0)
    assert report.seconds_left([complete], total=1, epochs=15, num_workers=1) == 0


def test_the_summary_has_the_keys_that_are_promised(search_study: optuna.Study, storage_url: str) -> None:
    summary = report.summarise(search_study, storage_url)
    assert list(summary) == [
        "study_name",
        "storage",
        "dataset",
        "device",
        "settings",
        "trials",
        "epochs",
        "seconds",
        "peak_memory_mb",
        "winner",
        "best",
        "rerank",
    ]
    assert list(summary["trials"]) == ["total", "complete", "pruned", "failed"]
    assert list(summary["epochs"]) == ["trained", "saved_by_pruning"]
    assert list(summary["best"]) == ["number", "val_accuracy", "num_params", "channels", "params"]


def test_the_summary_is_about_the_whole_study(search_study: optuna.Study, storage_url: str) -> None:
    summary = report.summarise(search_study, storage_url)
    best = search_study.get_trials()[2]
    assert (summary["study_name"], summary["storage"]) == ("small", storage_url)
    assert (summary["dataset"], summary["device"]) == ("sample", "cpu")
    assert summary["epochs"] == {"trained": 12, "saved_by_pruning": 3}
    assert summary["peak_memory_mb"] == 604  # the most of all trials', the running one's
    assert summary["best"] == {
        "number": 2,
        "val_accuracy": 98.5,
        "num_params": best.user_attrs["num_params"],
        "channels": best.user_attrs["channels"],
        "params": best.params,
    }
    assert summary["winner"] is None
    assert report.summarise(search_study, storage_url, winner=best)["winner"] == summary["best"]


def test_a_study_without_a_complete_trial_has_no_best() -> None:
    study = optuna.create_study(direction="maximize")
    for key, value in {"dataset": "sample", "epochs": 4}.items():
        study.set_user_attr(key, value)
    summary = report.summarise(study, "sqlite:///study.db")
    assert summary["best"] is None
    assert summary["device"] is None
    assert summary["peak_memory_mb"] is None
    assert summary["seconds"] == 0


def test_the_summary_hides_the_password_of_a_server(search_study: optuna.Study) -> None:
    summary = report.summarise(search_study, "postgresql://me:secret@server/optuna")
    assert summary["storage"] == "postgresql://me:***@server/optuna"


def test_the_summary_hides_a_password_in_the_query_of_a_url(search_study: optuna.Study) -> None:
    summary = report.summarise(search_study, "postgresql://server/optuna?password=secret&pwd=hush&port=1")
    assert summary["storage"] == "postgresql://server/optuna?password=hidden&port=1&pwd=hidden"


def test_records_hold_the_summary_and_a_row_per_trial(
    search_study: optuna.Study, storage_url: str, tmp_path: Path
) -> None:
    summary = report.summarise(search_study, storage_url)
    report.write_search_records(search_study, summary, tmp_path / "results" / "small")
    assert sorted(path.name for path in (tmp_path / "results" / "small").iterdir()) == ["summary.json", "trials.csv"]
    assert json.loads((tmp_path / "results" / "small" / "summary.json").read_text()) == summary
    with (tmp_path / "results" / "small" / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["COMPLETE", "PRUNED", "COMPLETE", "FAIL", "RUNNING"]
    assert [row["ticket"] for row in rows] == ["0", "1", "2", "3", "3"]
    assert [row["epochs"] for row in rows] == ["4", "1", "4", "1", "2"]
    for row, trial in zip(rows, search_study.get_trials(), strict=True):
        assert {name: float(row[name]) for name in trial.params} == trial.params
        assert json.loads(row["channels"]) == trial.user_attrs["channels"]


def test_a_row_of_the_status_tells_live_trials_from_stale_ones(
    search_study: optuna.Study, searched_storage: RDBStorage
) -> None:
    search_study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING))  # its owner died before saying so
    row = report.describe_study(search_study, searched_storage)
    assert row["trials"] == {"total": 3, "complete": 2, "pruned": 1, "failed": 1}
    assert (row["running"], row["stale"]) == (2, [5])
    assert (row["best"], row["best_trial"]) == (98.5, 2)
    assert (row["study_name"], row["kind"], row["dataset"]) == ("small", "search", "sample")


def test_a_row_of_the_status_says_when_a_trial_last_ended(
    search_study: optuna.Study, searched_storage: RDBStorage
) -> None:
    before = report.describe_study(search_study, searched_storage)["last_active"]
    search_study.tell(4, 99.0)  # hours after the command began, say
    ended = search_study.get_trials()[4].datetime_complete
    assert ended is not None
    after = report.describe_study(search_study, searched_storage)["last_active"]
    assert after == ended.astimezone(UTC).isoformat(timespec="milliseconds") > before


def test_a_study_of_another_program_has_a_row_too(storage: RDBStorage) -> None:
    foreign = optuna.create_study(storage=storage, study_name="foreign", directions=["minimize", "maximize"])
    foreign.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING))
    row = report.describe_study(foreign, storage)
    assert (row["study_name"], row["kind"], row["dataset"], row["best"]) == ("foreign", None, None, None)
    assert (row["running"], row["stale"]) == (1, [])  # whose workers are not ours to judge


def test_a_study_that_nothing_happened_in_was_never_active(storage: RDBStorage) -> None:
    row = report.describe_study(optuna.create_study(storage=storage, study_name="foreign"), storage)
    assert row["last_active"] is None


def note_of_trial(study: optuna.Study, number: int) -> str:
    return str(get_note(optuna.Trial(study, study.get_trials()[number]._trial_id)))


def test_notes_name_what_the_study_is_and_who_leads(search_study: optuna.Study) -> None:
    report.NoteKeeper(search_study).update()
    channels = report.format_channels(search_study.get_trials()[2].user_attrs["channels"])
    assert "1,999 parameters" in get_note(search_study)
    assert "4 epochs" in get_note(search_study)
    assert "data set: sample" in get_note(search_study)
    assert f"trial 2, 98.50 % with {search_study.get_trials()[2].user_attrs['num_params']:,}" in get_note(search_study)
    assert channels in note_of_trial(search_study, 2)
    assert "verify-best" in note_of_trial(search_study, 2)


def test_notes_follow_the_leader(search_study: optuna.Study) -> None:
    notes = report.NoteKeeper(search_study)
    notes.update()
    search_study.tell(4, 99.0)
    notes.update()
    assert "trial 4, 99.00 %" in get_note(search_study)
    assert "trial 4, 99.00 %" in note_of_trial(search_study, 4)
    assert "trial 0" not in get_note(search_study)


def test_notes_are_written_only_when_the_leader_changes(search_study: optuna.Study) -> None:
    notes = report.NoteKeeper(search_study)
    notes.update()
    before = search_study._storage.get_study_system_attrs(search_study._study_id)
    notes.update()
    assert search_study._storage.get_study_system_attrs(search_study._study_id) == before


def test_notes_name_the_winner_until_another_trial_leads(search_study: optuna.Study) -> None:
    notes = report.NoteKeeper(search_study)
    notes.name_winner(search_study.get_trials()[0], 98.125)
    assert "Winner of the re-ranking: trial 0, 98.125 % on average" in get_note(search_study)
    assert note_of_trial(search_study, 0).startswith("Winner of the re-ranking")
    search_study.tell(4, 99.0)
    notes.update()
    assert "Winner" not in get_note(search_study)


def test_a_study_without_a_leader_has_a_note_already() -> None:
    study = optuna.create_study(direction="maximize")
    for key, value in {"dataset": "sample", "epochs": 4, "max_params": 7_999}.items():
        study.set_user_attr(key, value)
    report.NoteKeeper(study).update()
    assert best_trial(study) is None
    assert "7,999 parameters" in get_note(study)
    assert "Best" not in get_note(study)


def test_channels_are_written_stage_by_stage() -> None:
    assert report.format_channels([[8, 10], [12, 14], [15]]) == "8,10 / 12,14 / 15"
