"""What a person sees of a command's results."""

import io
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from rich.console import Console, RenderableType

from search.ablate import RUNGS
from search.report import describe_study, summarise
from search.summaries import format_seconds, ladder_table, search_summary, studies_table, verification_report


def shown(renderable: RenderableType, width: int = 80) -> str:
    """What a terminal of that width shows."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, highlight=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_summary_of_a_search(search_study: optuna.Study) -> None:
    best = search_study.get_trials()[2].user_attrs
    first, second, third, fourth = search_summary(summarise(search_study, "sqlite:///study.db"), 4)
    assert first.startswith("small: 3 of 4 trials done (2 complete, 1 pruned; 1 trial cut off or failed) in 0:00:")
    assert first.endswith(" of training.")
    assert second == "12 epochs trained, 3 (20%) saved by pruning; a worker took at most 0.6 GB of main memory."
    assert third.startswith(f"Best: trial 2, 98.50 % on validation, {best['num_params']:,} parameters, channels ")
    assert fourth.startswith("Its parameters: ")
    params = search_study.get_trials()[2].params
    assert f"lr {params['lr']:.4g}" in fourth
    assert fourth.count(", ") == len(params) - 1
    assert search_summary(summarise(search_study, "sqlite:///study.db"), 3)[-1] == (
        "The 99.4 % claim cannot be judged on the bundled sample."
    )


def test_the_summary_of_a_search_that_is_done(search_study: optuna.Study) -> None:
    summary = summarise(search_study, "sqlite:///study.db")
    summary |= {"dataset": "mnist", "trials": summary["trials"] | {"failed": 0}}
    first, _, third, _ = search_summary(summary, 3)
    assert first.startswith("small: 3 trials done (2 complete, 1 pruned) in ")
    assert third.startswith("Best: trial 2")


def test_the_summary_tells_who_won_the_reranking_or_that_it_is_not_finished(search_study: optuna.Study) -> None:
    winner = search_study.get_trials()[0]
    standings = [
        {"number": 0, "mean": 98.375, "val_accuracies": [98.25, 98.5]},
        {"number": 2, "mean": 98.25, "val_accuracies": [98.0, 98.5]},
    ]
    facts = {"finished": True, "winner": 0, "regression": 0.25, "standings": standings}
    lines = search_summary(summarise(search_study, "sqlite://", facts, winner), 5)
    assert lines[2].startswith(
        "Winner: trial 0, 98.375 % on validation on average over 2 further runs, "
        f"{winner.user_attrs['num_params']:,} parameters, channels "
    )
    assert lines[3].startswith("Its parameters: ")
    assert lines[4] == (
        "Best single run: trial 2, 98.50 % (best.safetensors); its further runs reach 98.250 % on average (-0.250 "
        "points)."
    )
    cut_off = facts | {"finished": False, "winner": None, "regression": None}
    lines = search_summary(summarise(search_study, "sqlite://", cut_off), 5)
    assert lines[2].startswith("Best: trial 2, 98.50 % on validation")
    assert lines[4] == "Re-ranking is not finished: 2 trials so far."


def test_the_summary_of_a_search_without_a_best() -> None:
    study = optuna.create_study(study_name="new", direction="maximize")
    for key, value in {"dataset": "mnist", "epochs": 4}.items():
        study.set_user_attr(key, value)
    assert search_summary(summarise(study, "sqlite:///study.db"), 5) == [
        "new: 0 of 5 trials done (0 complete, 0 pruned) in 0:00:00 of training.",
        "0 epochs trained, 0 (0%) saved by pruning.",
    ]


def make_facts(**changes: Any) -> dict[str, Any]:
    facts = {
        "study_name": "small", "trial": 2, "num_params": 7_901, "channels": [[8, 10], [12, 14], [15, 17]], "epochs": 15,
        "target": 99.4, "dataset": "mnist", "num_images": 10_000, "max_errors": 60,
        "seeds": [
            {"seed": 10_000, "test_accuracy": 99.4, "errors": 60, "errors_one_view": 70},
            {"seed": 10_001, "test_accuracy": 99.38, "errors": 62, "errors_one_view": 71},
        ],
        "num_passed": 1, "min": 99.38, "mean": 99.39, "std": 0.014, "ci95": [99.263, 99.517],
        "pass_share_lower95": 0.025, "attempts": 1, "one_view": {"min": 99.29, "mean": 99.295}, "confirmed": False,
        "device": "cpu", "precision": "fp32", "commit": "0123abc", "versions": {"torch": "2.14.1"},
    }  # fmt: skip
    return facts | changes


def test_the_verification_report_shows_every_seed_and_the_verdict() -> None:
    text = shown(verification_report(make_facts()))
    assert "Trial 2 of small" in text
    rows = [line.replace("│", " ").split() for line in text.splitlines()]
    assert ["10000", "99.40", "60", "70"] in rows
    assert ["10001", "99.38", "62", "71"] in rows
    assert "NOT CONFIRMED: 1 of 2 fresh seeds miss 99.4 %" in " ".join(text.split())
    assert max(len(line) for line in text.splitlines()) <= 80


def test_names_in_brackets_are_printed_as_they_are(storage: RDBStorage) -> None:
    text = shown(verification_report(make_facts(study_name="a [red] study")), width=200)
    assert "Trial 2 of a [red] study" in text
    assert "trial 2 of a [red] study" in text
    row = describe_study(optuna.create_study(storage=storage, study_name="a [red] study"), storage)
    assert "a [red] study" in shown(studies_table([row]))


def test_the_table_of_studies_shows_counts_and_who_is_stale(
    search_study: optuna.Study, searched_storage: RDBStorage
) -> None:
    search_study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING))
    verification = optuna.create_study(storage=searched_storage, study_name="small-verify-2", direction="maximize")
    verification.set_user_attr("kind", "verify")
    foreign = optuna.create_study(storage=searched_storage, study_name="foreign")
    studies = (search_study, verification, foreign)
    text = shown(studies_table([describe_study(study, searched_storage) for study in studies]))
    rows = [line.replace("│", " ").split() for line in text.splitlines()]
    assert ["small", "search", "2", "1", "2", "1", "98.50"] in rows
    assert ["small-verify-2", "verify", "0", "0", "0", "0"] in rows
    assert ["foreign", "other", "0", "0", "0", "0"] in rows
    assert "small: the workers of trials [5] have ended" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (205, "0:03:25"), (36_000.4, "10:00:00")]
)
def test_seconds_are_written_as_a_clock(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_the_ladder_fits_eighty_columns() -> None:
    spread = {"accuracies": [99.5, 99.6], "mean": 99.55, "std": 0.07}
    parts = {"test": spread, "test_one_view": spread, "train_one_view": spread}
    hand_made = {"train": 97.85, "test": 99.42}
    rungs = [{"rung": rung, "num_params": 7_993, "diverged": 0, "hand_made": hand_made, **parts} for rung in RUNGS]
    facts = {
        "trial": 31, "search_study": "mnist-7999p-15e", "epochs": 15, "dataset": "mnist", "seeds": [1, 2],
        "rungs": rungs, "winner_has_dropout": True,
        "device": "cpu", "precision": "fp32", "commit": "0123abc", "versions": {},
    }  # fmt: skip
    lines = shown(ladder_table(facts)).splitlines()
    assert max(len(line) for line in lines) <= 80
    for rung in RUNGS:
        (row,) = [line for line in lines if line.startswith(rung)]
        assert row.count("99.55 ± 0.07") == 3
        assert "97.85 / 99.42" in row
