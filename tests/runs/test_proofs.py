"""The commands that follow a search: the verdict, its repetition, the ladder."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
from commands import assert_refused, run
from optuna.storages import RDBStorage

import space
from search.ablate import RUNGS
from search.attempts import plan_attempt
from search.data import TEST_FILES
from search.final import LARGEST_SEED
from search.verify import choose_trial, open_verify_study


@pytest.fixture
def quick_study(search_study: optuna.Study) -> None:
    """Makes the study one of a single epoch, whose winner can be trained in a second."""
    search_study.set_user_attr("epochs", 1)


# What cannot be verified


@pytest.mark.parametrize(("number", "words"), [("1", "pruned"), ("3", "fail"), ("4", "running"), ("99", "no trial 99")])
def test_only_a_complete_trial_is_verified(
    number: str, words: str, search_study: optuna.Study, searched_storage: RDBStorage, places: list[str]
) -> None:
    assert_refused(run("verify-best", "--trial", number, *places), 1, words)
    assert optuna.get_all_study_names(searched_storage) == ["small"]


def test_the_winner_of_an_edited_space_is_not_verified(
    search_study: optuna.Study, searched_storage: RDBStorage, places: list[str]
) -> None:
    search_study.set_user_attr("space", "0123")
    assert_refused(run("verify-best", *places), 1, "space.py was edited")
    assert optuna.get_all_study_names(searched_storage) == ["small"]


@pytest.mark.usefixtures("no_mirror")
def test_missing_test_digits_are_told_before_a_verification_starts(
    search_study: optuna.Study, searched_storage: RDBStorage, places: list[str]
) -> None:
    search_study.set_user_attr("dataset", "mnist")
    assert_refused(run("verify-best", *places), 1, "--data-dir")
    assert optuna.get_all_study_names(searched_storage) == ["small"]


@pytest.mark.full
def test_damaged_test_digits_are_told_before_a_verification_starts(
    search_study: optuna.Study, searched_storage: RDBStorage, places: list[str], tmp_path: Path, mnist_dir: Path
) -> None:
    search_study.set_user_attr("dataset", "mnist")
    shutil.copytree(mnist_dir / "MNIST" / "raw", tmp_path / "data" / "MNIST" / "raw", copy_function=os.symlink)
    damaged = tmp_path / "data" / "MNIST" / "raw" / next(iter(TEST_FILES))
    damaged.unlink()
    damaged.write_bytes(b"damaged")
    assert_refused(run("verify-best", *places), 1, "is damaged", str(damaged))
    assert optuna.get_all_study_names(searched_storage) == ["small"]


# A verdict on MNIST's test digits, of seeds that are on record


@pytest.fixture
def record_seeds(search_study: optuna.Study, searched_storage: RDBStorage, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a search on MNIST of the study, whose winner made these numbers of errors with seeds 10,000 onward."""

    def add_seeds(*errors: int) -> None:
        search_study.set_user_attr("dataset", "mnist")
        winner = choose_trial(search_study, searched_storage, None)
        config = space.suggest_config(winner.trial, search_study.user_attrs["max_params"])
        verification = open_verify_study(searched_storage, search_study, winner, config)
        made_with = {"device": "cpu", "precision": "fp32", "commit": "0123abc", "versions": {"torch": "2.0.0"}}
        for seed, count in enumerate(errors, start=10_000):
            measured = optuna.trial.create_trial(
                value=100 - count / 100,
                params={"seed": seed},
                distributions={"seed": optuna.distributions.IntDistribution(0, LARGEST_SEED)},
                user_attrs={
                    "ticket": seed,
                    "errors": count,
                    "errors_one_view": count,
                    "num_views": 27,
                    "num_images": 10_000,
                    **made_with,
                },
            )
            verification.add_trial(measured)
        plan_attempt(verification, searched_storage, 10_000, len(errors), rule=winner.rule, history=[])

    monkeypatch.setattr("search.proofs.load_final_splits", lambda *_: None)  # no file is opened
    return add_seeds


@pytest.mark.parametrize(
    ("errors", "target", "code", "sentence"),
    [
        ([60, 60, 60, 60, 60], "99.4", 0, "CONFIRMED: every one of 5 fresh seeds reaches 99.4 %"),
        ([60, 60, 61, 60, 60], "99.4", 3, "NOT CONFIRMED: 1 of 5 fresh seeds miss 99.4 %"),
        ([60, 60, 61, 60, 60], "99.39", 0, "CONFIRMED: every one of 5 fresh seeds reaches 99.39 %"),
        ([10, 10, 10, 10, 10_000], "99.4", 3, "NOT CONFIRMED: 1 of 5"),  # diverged
    ],
)
def test_a_verification_ends_with_3_unless_every_seed_reaches_the_target(
    errors: list[int], target: str, code: int, sentence: str, record_seeds: Any, places: list[str]
) -> None:
    record_seeds(*errors)
    result = run("verify-best", "--target", target, *places)
    assert result.exit_code == code, result.stderr
    assert result.stdout.splitlines()[-1].startswith(sentence)  # piped, a sentence is one line
    facts = json.loads(run("verify-best", "--target", target, "--json", *places).stdout)
    assert facts["confirmed"] is (code == 0)
    assert [each["errors"] for each in facts["seeds"]] == errors
    assert facts["attempts"] == 1
    assert run("verify-best", "--target", target, "--quiet", *places).exit_code == code


def test_fewer_seeds_do_not_leave_out_one_that_missed(record_seeds: Any, places: list[str]) -> None:
    record_seeds(60, 60, 60, 60, 61)
    assert run("verify-best", *places).exit_code == 3
    result = run("verify-best", "--seeds", "2", "--quiet", *places)
    assert result.exit_code == 3
    assert "its first 5 seeds count, not 2" in result.stderr
    picked = run("verify-best", "--first-seed", "10001", "--seeds", "2", *places)
    assert_refused(picked, 1, "are not all fresh", "--first-seed 11000")


def test_a_trial_that_is_asked_for_does_not_replace_the_record_of_the_winner(
    record_seeds: Any, places: list[str], tmp_path: Path
) -> None:
    record_seeds(60)
    assert run("verify-best", "--seeds", "1", *places).exit_code == 0
    folder = tmp_path / "results" / "small"
    proof = (folder / "verify.json").read_bytes()
    assert run("verify-best", "--seeds", "1", "--trial", "2", "--target", "99.5", *places).exit_code == 3
    assert (folder / "verify.json").read_bytes() == proof
    asked = json.loads((folder / "verify-2.json").read_text())
    assert (asked["trial"], asked["target"]) == (2, 99.5)
    assert asked["attempts"] == 1  # the same seeds of the same trial


# A record to repeat


@pytest.mark.parametrize("option", [["--trial", "3"], ["--target", "99"], ["--study-name", "small"]], ids=" ".join)
def test_what_a_record_says_is_not_said_again(option: list[str], places: list[str], tmp_path: Path) -> None:
    result = run("verify-best", "--from", tmp_path, *option, *places)
    assert_refused(result, 2, f"leave {option[0]} out")


def test_a_folder_without_a_record_is_named(places: list[str], tmp_path: Path) -> None:
    assert_refused(run("verify-best", "--from", tmp_path / "nowhere", *places), 1, "verify.json is missing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_study", "workers_here")
def test_a_recorded_proof_is_repeated_to_the_last_error(places: list[str], tmp_path: Path) -> None:
    proved = run("verify-best", "--seeds", "1", "--first-seed", "12000", "--workers", "1", "--json", *places)
    assert proved.exit_code == 0, proved.stderr
    folder = tmp_path / "results" / "small"
    elsewhere = ["--storage", f"{places[1]}.repeated", "--results-dir", tmp_path / "repeated"]
    result = run("verify-best", "--from", folder, "--seeds", "2", "--workers", "1", "--json", *elsewhere)
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["identical"] is True
    assert [each["seed"] for each in facts["seeds"]] == [12_000, 12_001]
    assert facts["seeds"][0]["errors"] == facts["seeds"][0]["recorded_errors"]
    assert facts["seeds"][1]["recorded_errors"] is None
    assert facts["model_errors"] == facts["recorded_model_errors"] == facts["seeds"][0]["errors"]
    (written,) = (tmp_path / "repeated").glob("*/reproduce.json")
    assert json.loads(written.read_text()) == facts
    assert facts["num_earlier"] == 0
    again = run("verify-best", "--from", folder, "--seeds", "2", *elsewhere)  # all is there: no worker starts
    assert again.stdout.splitlines()[-1].startswith("REPRODUCED")
    assert "Trained by an earlier command with this storage, and not again: 2 of 2." in again.stdout
    (model,) = folder.glob("*.safetensors")
    model.write_bytes(b"damaged")
    assert_refused(run("verify-best", "--from", folder, "--seeds", "2", *elsewhere), 1, model.name, "Restore it")
    assert json.loads(written.read_text()) == facts | {"num_earlier": 2}


@pytest.mark.usefixtures("quick_study")
def test_the_ladder_has_a_table_a_plot_and_every_rung(places: list[str], tmp_path: Path) -> None:
    result = run("ablate", "--seeds", "1", "--workers", "1", "--json", *places)
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert [rung["rung"] for rung in facts["rungs"]] == list(RUNGS)
    assert all(len(rung["test"]["accuracies"]) == 1 for rung in facts["rungs"])
    folder = tmp_path / "results" / "small"
    assert json.loads((folder / "ablation.json").read_text()) == facts
    assert (folder / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert run("ablate", "--trial", "0", "--seeds", "1", "--study-name", "nowhere", *places).exit_code == 1
    table = run("ablate", "--seeds", "1", *places).stdout
    assert all(rung in table for rung in RUNGS)
    assert "Nothing is picked by these figures." in (folder / "ablation.md").read_text()


@pytest.mark.parametrize("content", ["null", "[]", "{", "7", "{}", '{"seeds": []}'])
def test_a_damaged_record_is_not_replaced(content: str, record_seeds: Any, places: list[str], tmp_path: Path) -> None:
    record_seeds(60)
    path = tmp_path / "results" / "small" / "verify.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert_refused(run("verify-best", "--seeds", "1", *places), 1, "verify.json is damaged", "move it away")
    assert path.read_text() == content


def test_a_new_database_does_not_forget_an_attempt(
    record_seeds: Any, search_study: optuna.Study, searched_storage: RDBStorage, places: list[str], tmp_path: Path
) -> None:
    record_seeds(61)
    assert run("verify-best", "--seeds", "1", *places).exit_code == 3
    path = tmp_path / "results" / "small" / "verify.json"
    record = json.loads(path.read_text())
    other = record | {"channels": [[1], [2], [3]], "trial": 7}  # of a study that is gone
    optuna.delete_study(storage=searched_storage, study_name="small-verify-2")
    path.write_text(json.dumps(other))
    assert_refused(run("verify-best", "--first-seed", "10000", *places), 1, "are not all fresh")
    optuna.delete_study(storage=searched_storage, study_name="small-verify-2")
    record_seeds(60)
    path.write_text(json.dumps(other | {"seeds": [{**other["seeds"][0], "seed": 9_000}]}))
    facts = json.loads(run("verify-best", "--seeds", "1", "--json", *places).stdout)
    assert facts["attempts"] == 2
    assert [(row["trial"], row["first_seed"], row["num_passed"]) for row in facts["earlier_attempts"]] == [
        (7, 9_000, 0)
    ]
