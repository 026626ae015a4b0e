"""The end of a search in words, and the table of all studies."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from evidence import CHANNELS, RERANKED, STANDINGS, make_summary, searched
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from showing import shown, widest

from search.commands.output import show
from search.proof.summaries import (
    Earned,
    EpochCounts,
    Reranking,
    SearchedTrial,
    StorageStatus,
    StudyRow,
    TrialCounts,
)
from search.settings import BEST_MODEL
from search.show.status import describe_storage, studies_table
from search.show.study import search_report
from search.studies.study import StoredStudy

FOLDER = Path("results/mnist-7999p-15e")


def report(num_planned: int = 50, folder: Path = FOLDER, width: int = 500, **changes: Any) -> list[str]:
    """The lines, which nothing wraps at the width that is the default here."""
    return [
        line.rstrip() for line in shown(search_report(make_summary(**changes), num_planned, folder), width).splitlines()
    ]


# The report


def test_the_report_says_what_was_done() -> None:
    assert report()[:2] == [
        "mnist-7999p-15e: 50 trials done (30 complete, 20 pruned), which ran for 3:25:46.",
        "560 epochs trained, 190 (25%) saved by pruning; a worker took at most 0.9 GB of main memory.",
    ]


def test_the_report_of_a_search_that_goes_on_says_of_how_many_trials() -> None:
    assert report(60)[0].startswith("mnist-7999p-15e: 50 of 60 trials done (30 complete, 20 pruned), which ran for ")


def test_the_report_tells_interrupted_trials_from_failed_ones() -> None:
    counts = TrialCounts(complete=30, pruned=20, failed=2, interrupted=1)
    assert "(30 complete, 20 pruned; 1 trial interrupted and tried again; 2 trials failed)" in report(trials=counts)[0]
    assert "(30 complete, 20 pruned; 1 trial interrupted; 2 trials failed)" in report(60, trials=counts)[0]


def test_the_report_names_the_best_where_nothing_was_reranked() -> None:
    lines = report()
    assert lines[2] == ("Best: trial 31, 99.25 % on validation, 7,901 parameters, channels 8,10 / 12,14 / 15,17.")
    assert lines[3] == "Parameters of trial 31:"
    assert not any("Re-ranking" in line for line in lines)


def test_the_report_names_the_winner_of_the_reranking_and_what_the_best_single_run_owed_to_luck() -> None:
    lines = report(**RERANKED)
    assert lines[2:5] == [
        "Winner: trial 7, 99.375 % on validation on average over 2 further runs, 7,901 parameters, channels "
        "8,10 / 12,14 / 15,17.",
        "Best single run: trial 31, 99.25 %; its further runs reach 99.125 % on average (-0.125 points).",
        "Parameters of trial 7:",
    ]


@pytest.mark.parametrize(
    ("tied", "words"),
    [
        ((7, 31), "It ties with trial 31 (95 %: ±0.150 points)."),
        ((7, 31, 40), "It ties with trials 31, 40 (95 %: ±0.150 points)."),
        ((7,), ""),
    ],
)
def test_the_report_names_the_trials_that_the_winner_cannot_be_told_from(tied: tuple[int, ...], words: str) -> None:
    lines = report(**RERANKED | {"reranking": RERANKED["reranking"].model_copy(update={"tied": tied, "margin": 0.15})})
    assert lines[2].endswith(f"channels 8,10 / 12,14 / 15,17. {words}".rstrip())


def test_the_report_says_why_a_smaller_network_wins() -> None:
    tied = RERANKED["reranking"].model_copy(update={"tied": (7, 31), "standings": STANDINGS[::-1]})
    assert report(**RERANKED | {"reranking": tied})[2].endswith(
        "It ties with trial 31, and wins as the smallest of them."
    )


def test_the_report_says_that_a_first_trial_which_wins_earned_nothing() -> None:
    runs = (99.5, 99.4)
    earned = Earned(first=7, winner_val_accuracies=runs, first_val_accuracies=runs)
    won = RERANKED["reranking"].model_copy(update={"first": 7, "earned": earned})
    assert report(**RERANKED | {"reranking": won})[4:6] == [
        "The winner is the study's first trial: the search earned nothing over it.",
        "It reaches 99.450 % on average over 2 runs that did not choose it.",
    ]


def test_the_report_says_what_the_search_earned() -> None:
    earned = Earned(first=0, winner_val_accuracies=(99.5, 99.4), first_val_accuracies=(99.4, 99.2))
    lines = report(**RERANKED | {"reranking": RERANKED["reranking"].model_copy(update={"earned": earned})})
    assert lines[4] == (
        "Earned over the study's first trial (0): +0.150 ± 0.635 points on validation (95 %, 2 pairs of further runs)."
    )


def test_a_winner_that_is_worse_than_the_first_trial_is_told_with_what_to_do() -> None:
    earned = Earned(first=0, winner_val_accuracies=(99.1, 99.2), first_val_accuracies=(99.4, 99.51))
    lines = report(**RERANKED | {"reranking": RERANKED["reranking"].model_copy(update={"earned": earned})})
    assert lines[4].startswith("Earned over the study's first trial (0): -0.305 ± 0.064 points")
    assert lines[5] == "So the first trial is the better one: search on, or prove it by verify-best --trial 0."


def test_a_gain_that_has_no_interval_is_told_without_one() -> None:
    earned = Earned(first=0, winner_val_accuracies=(99.5, 99.5), first_val_accuracies=(99.25, 99.25))
    lines = report(**RERANKED | {"reranking": RERANKED["reranking"].model_copy(update={"earned": earned})})
    assert lines[4] == "Earned over the study's first trial (0): +0.250 points on validation (2 pairs of further runs)."


def test_the_report_says_that_the_reranking_is_not_finished() -> None:
    cut_off = Reranking(finished=False, winner=None, regression=None, standings=STANDINGS)
    lines = report(reranking=cut_off)
    assert lines[2].startswith("Best: trial 31, 99.25 % on validation")
    assert lines[3] == "Re-ranking is not finished: 2 trials so far."


@pytest.mark.parametrize("width", [60, 80, 500])
def test_the_report_has_a_table_of_the_parameters_of_the_trial_that_it_names(width: int) -> None:
    lines = report(width=width, **RERANKED)
    start = lines.index("Parameters of trial 7:") + 1
    rows = [line.split() for line in lines[start : start + 6]]
    assert rows == [
        ["convs_1", "2", "dropout", "0.15"],
        ["convs_2", "2", "rotation", "14.45"],
        ["convs_3", "2", "shift", "1.397"],
        ["widening_2", "1.851", "distortion", "0.07079"],
        ["widening_3", "1.761", "lr", "0.007"],
        ["growth", "1.25", "weight_decay", "0.002387"],
    ]
    assert lines[start + 6].startswith("Results: ")


def test_an_odd_number_of_parameters_leaves_a_place_empty() -> None:
    best = SearchedTrial(number=3, val_accuracy=99, num_params=7, channels=CHANNELS, params={"a": 1, "b": 2, "c": 3.5})
    lines = report(best=best)
    start = lines.index("Parameters of trial 3:") + 1
    assert [line.split() for line in lines[start : start + 2]] == [["a", "1", "c", "3.5"], ["b", "2"]]


def test_the_report_says_where_the_results_are() -> None:
    assert "Results: results/mnist-7999p-15e/ (summary.json, trials.csv)." in report()
    assert "Results: . (summary.json, trials.csv)." in report(folder=Path())


def models_told(**options: Any) -> str | None:
    return next((line for line in report(**options) if line.startswith("Models there: ")), None)


def test_the_report_says_whose_each_model_is(tmp_path: Path) -> None:
    (tmp_path / BEST_MODEL).touch()
    told = models_told(folder=tmp_path, **RERANKED)
    assert told == (
        "Models there: winner.safetensors (the winner's: trial 7, its first further run), best-single-run.safetensors "
        "(of the best single run whose results went there); trained on the search's training images. verify-best "
        "trains the winner on all of them, and that model is to be used."
    )
    not_reranked = {"winner": searched(31, 99.25), "winner_model": "winner.safetensors"}
    told = models_told(folder=tmp_path, **not_reranked)
    assert told is not None
    assert told.startswith("Models there: winner.safetensors (the winner's: trial 31), best-single-run.safetensors (")


def test_the_report_tells_of_no_model_that_is_not_there(tmp_path: Path) -> None:
    elsewhere = RERANKED | {"winner_model": None}
    assert models_told(folder=tmp_path, **elsewhere) is None
    (tmp_path / BEST_MODEL).touch()
    told = models_told(folder=tmp_path, **elsewhere)
    assert told is not None
    assert "winner.safetensors" not in told


def test_the_report_says_why_a_winner_has_no_model(tmp_path: Path) -> None:
    lost = RERANKED | {"winner_model": None, "winner_model_missing": "further-runs/trial-7.safetensors is damaged."}
    words = "There is no winner.safetensors: further-runs/trial-7.safetensors is damaged."
    assert words in report(folder=tmp_path, **lost)


def test_the_claim_cannot_be_judged_on_the_sample() -> None:
    sample = {"dataset": "sample", "judged": False}
    assert report(**sample)[-1] == "The 99.4 % claim cannot be judged on the sample."
    assert not any("claim" in line for line in report(60, **sample))  # it goes on first
    assert not any("claim" in line for line in report())


def test_the_report_of_a_search_without_a_best() -> None:
    nothing = {
        "trials": TrialCounts(complete=0, pruned=0, failed=0, interrupted=0),
        "epochs": EpochCounts(trained=0, saved_by_pruning=0),
        "seconds": 0.0,
        "peak_memory_mb": None,
        "best": None,
    }
    assert report(5, **nothing) == [
        "mnist-7999p-15e: 0 of 5 trials done (0 complete, 0 pruned), which ran for 0:00:00.",
        "0 epochs trained, 0 (0%) saved by pruning.",
        "Results: results/mnist-7999p-15e/ (summary.json, trials.csv).",
    ]


@pytest.mark.parametrize("width", [60, 80])
def test_the_report_is_wrapped_between_words(width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FOLDER.mkdir(parents=True)
    (FOLDER / BEST_MODEL).touch()
    counts = TrialCounts(complete=30, pruned=20, failed=2, interrupted=1)
    lines = report(width=width, trials=counts, **RERANKED)
    assert max(map(len, lines)) <= width
    assert " ".join(lines).split() == " ".join(report(trials=counts, **RERANKED)).split()


def test_where_no_terminal_is_a_sentence_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show(search_report(make_summary(**RERANKED), 50, FOLDER))
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == report(**RERANKED)


def test_a_name_in_brackets_is_printed_as_it_is() -> None:
    assert report(study_name="a [red] study")[0].startswith("a [red] study: 50 trials done")
    assert any(line.startswith("Results: results/[red]/ (") for line in report(folder=Path("results/[red]")))


# The table of studies


def rows_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_the_table_of_studies_shows_counts_and_who_is_stale(
    search_study: StoredStudy, verification: StoredStudy
) -> None:
    search_study.study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING))
    optuna.create_study(storage=search_study.storage, study_name="foreign")
    text = shown(studies_table(describe_storage(search_study.storage)))
    heading, *rows = rows_of(text)
    assert " ".join(heading) == "Study Kind Complete Pruned Running Interrupted Best run %"
    assert rows[:3] == [
        ["small", "search", "2", "1", "2", "1", "98.50"],
        ["small-verify-2", "verify", "0"],
        ["foreign", "other", "0"],
    ]
    assert "small: trial 5 left by workers that have ended; the same command tries again." in " ".join(text.split())


def test_names_in_brackets_are_printed_as_they_are(storage: RDBStorage) -> None:
    optuna.create_study(storage=storage, study_name="a [red] study")
    assert "a [red] study" in shown(studies_table(describe_storage(storage)))


def test_the_table_of_no_studies_has_headings(storage: RDBStorage) -> None:
    assert rows_of(shown(studies_table(describe_storage(storage))))[0][0] == "Study"


def make_status(kind: str, num_complete: int, *names: str) -> StorageStatus:
    counts = TrialCounts(complete=num_complete, pruned=300, failed=10, interrupted=20)
    facts = {"dataset": "mnist", "running": 16, "stale": (), "best_trial": 3, "last_active": None}
    rows = [
        StudyRow.model_validate({"study_name": name, "kind": kind, "best": 99.25, "trials": counts} | facts)
        for name in names
    ]
    return StorageStatus(storage="sqlite:///study.db", studies=tuple(rows))


@pytest.mark.parametrize(
    ("kind", "name", "num_complete", "width"),
    [
        ("reproduce", "mnist-7999p-15e-reproduce-31-0123ab", 1_050, 80),
        ("rerank", "mnist-7999p-15e-rerank", 105, 60),
    ],
)
def test_in_a_narrow_terminal_names_and_numbers_stay_whole(kind: str, name: str, num_complete: int, width: int) -> None:
    text = shown(studies_table(make_status(kind, num_complete, name, "small")), width)
    assert widest(text) <= width
    figures = [kind, str(num_complete), "300", "16", "20", "10", "99.25"]
    assert rows_of(text)[-2:] == [[name, *figures], ["small", *figures]]


def test_where_no_terminal_is_headings_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    show(studies_table(make_status("reproduce", 1_050, "mnist-7999p-15e-reproduce-31-0123ab")))
    heading, row = capsys.readouterr().out.splitlines()
    assert " ".join(heading.split()) == "Study Kind Complete Pruned Running Interrupted Failed Best run %"
    assert row.endswith(" 99.25")
