"""What cannot be done is told in one line, before anything is computed."""

import json
import re
import shlex
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from commands import COMMANDS, SMALL, assert_refused, run
from optuna.storages import RDBStorage
from recording import add_runs, open_reranking

import space
from search.net.datasets import DATASETS, IdxFiles
from search.studies.opening import open_search_study
from search.studies.study import Binding, StoredStudy

# Storages that cannot be used

BAD_STORAGES = {
    "malformed": ("study.db", "not a database URL"),
    "empty": ("sqlite://", "memory"),
    "of an unknown kind": ("nosuchdb://host/name", "nosuchdb"),
    "in a folder that is not there": ("sqlite:///{folder}/missing/study.db", "missing/study.db"),
    "a folder": ("sqlite:///{folder}", "cannot be used"),
    "a text file": ("sqlite:///{folder}/notes.txt", "not a database"),
    "another program's": ("sqlite:///{folder}/other.db", "not an Optuna database"),
}


@pytest.fixture
def folder_of_files(tmp_path: Path) -> Path:
    """A text file, and a database that is not Optuna's."""
    (tmp_path / "notes.txt").write_text("Not a database, but a text that is long enough to look into. " * 20)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE addresses (name TEXT)")
    other.close()
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("url", "words"), BAD_STORAGES.values(), ids=BAD_STORAGES)
def test_a_storage_that_cannot_be_used_is_one_line(command: str, url: str, words: str, folder_of_files: Path) -> None:
    options = ["--storage", url.format(folder=folder_of_files)]
    if command not in ("status", "delete"):
        options += ["--results-dir", str(folder_of_files / "results")]
    before = {path: path.read_bytes() for path in folder_of_files.iterdir() if path.is_file()}
    assert_refused(run(command, *COMMANDS[command], *options), 1, words)
    assert {path: path.read_bytes() for path in folder_of_files.iterdir() if path.is_file()} == before


def test_a_storage_without_its_driver_is_one_line_that_keeps_the_password() -> None:
    result = run("status", "--storage", "oracle://me:secret@127.0.0.1/optuna")
    assert_refused(result, 1, "driver")
    assert "secret" not in result.stderr


def test_a_malformed_url_does_not_give_its_password_away() -> None:
    result = run("status", "--storage", "postgresql://me:secret@127.0.0.1:port/optuna")
    assert_refused(result, 1)
    assert "secret" not in result.stderr


def test_a_read_only_storage_can_be_looked_at_but_not_changed(search_study: StoredStudy, tmp_path: Path) -> None:
    url = f"sqlite:///file:{tmp_path / 'study.db'}?mode=ro&uri=true"
    assert run("status", "--storage", url).exit_code == 0
    options = [*SMALL, "--trials", "9"]
    assert_refused(run("search", *options, "--storage", url, "--results-dir", tmp_path / "results"), 1, "--storage")
    deleting = run("delete", "small", "--yes", "--storage", url)
    assert deleting.exit_code == 1
    assert "--storage" in deleting.stderr
    assert len(search_study.trials()) == 5


# Studies that were made with something else


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "mnist"}, ["data set (mnist, now sample)"]),
        ({"split": "0123"}, ["split of the data (0123"]),
        ({"max_params": 3_999}, ["parameter budget (3999, now 1999)"]),
        ({"epochs": 15}, ["number of epochs (15, now 4)"]),
        ({"space": "0123"}, ["search space (--space, or space.py)"]),
        ({"epochs": 15, "max_params": 3_999}, ["parameter budget", "number of epochs"]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_study_made_with_something_else_is_refused(
    change: dict[str, Any], words: list[str], storage: RDBStorage, sample_binding: Binding, places: list[str]
) -> None:
    bound = replace(sample_binding, **change)
    search = open_search_study(storage, "small", bound, space.REFERENCE)
    assert_refused(run("search", *SMALL, "--trials", "1", *places), 1, *words, "--study-name")
    assert search.binding == bound


def test_a_study_of_another_program_is_refused(storage: RDBStorage, places: list[str]) -> None:
    optuna.create_study(storage=storage, study_name="foreign")
    assert_refused(
        run("search", "--dataset", "sample", "--study-name", "foreign", *places), 1, "'foreign' was not made"
    )
    assert_refused(run("verify-best", "--study-name", "foreign", *places), 1, "no search study")


def test_a_study_that_followed_another_search_is_told_with_the_command_that_removes_it(
    search_study: StoredStudy, places: list[str]
) -> None:
    leading = search_study.best_trial()
    assert leading is not None
    leading.params = {**leading.params, "lr": 0.5}  # as another search of this name had drawn
    add_runs(open_reranking(search_study, 1), leading, 97.0, 98.0)
    options = [*SMALL, "--trials", "3", "--rerank", "0", "--quiet"]
    refused = run("search", *options, *places)
    assert_refused(refused, 1, "'small-rerank' re-ranked another search of this name")
    assert delete_as_told(refused.stderr, places).exit_code == 0
    assert optuna.get_all_study_names(search_study.storage) == []


def test_what_followed_a_search_that_is_gone_is_told_with_the_command_that_removes_it(
    search_study: StoredStudy, verification: StoredStudy, sample_binding: Binding, places: list[str]
) -> None:
    optuna.delete_study(study_name="small", storage=search_study.storage)
    refused = run("search", *SMALL, *places)
    assert_refused(refused, 1, "'small' are still there: small-verify-2.")
    assert delete_as_told(refused.stderr, places).exit_code == 0
    open_search_study(search_study.storage, "small", sample_binding, space.REFERENCE)


def delete_as_told(complaint: str, places: list[str]) -> Any:
    """Types the command that an error names."""
    (words,) = re.findall(r"'python cli\.py (delete [^']*)'", complaint)
    return run(*shlex.split(words), "--yes", *places[:2])


# Nothing to verify


def test_there_is_nothing_to_read_before_the_first_search(places: list[str], tmp_path: Path) -> None:
    assert_refused(run("verify-best", *places), 1, "no study yet", "python cli.py search")
    assert_refused(run("ablate", *places), 1, "no study yet", "python cli.py search")
    assert_refused(run("status", *places[:2]), 1, "no study yet", "python cli.py search")
    assert_refused(run("delete", "small", *places[:2]), 1, "no study yet", "python cli.py search")
    assert not (tmp_path / "study.db").exists()


@pytest.mark.usefixtures("storage")
def test_there_is_nothing_to_verify_in_an_empty_storage(places: list[str]) -> None:
    refused = run("verify-best", *places)
    assert_refused(refused, 1, "no search study in this storage (--storage) yet", "python cli.py search")
    assert run("status", *places[:2]).exit_code == 0
    assert json.loads(run("status", *places[:2], "--json").stdout)["studies"] == []


def test_there_is_nothing_to_verify_before_a_trial_is_complete(
    storage: RDBStorage, sample_binding: Binding, places: list[str]
) -> None:
    open_search_study(storage, "small", sample_binding, space.REFERENCE)
    assert_refused(run("verify-best", *places), 1, "no complete trial yet")
    assert_refused(run("ablate", *places), 1, "no complete trial yet")


@pytest.mark.usefixtures("search_study")
def test_a_study_that_is_not_there_is_named(places: list[str]) -> None:
    assert_refused(run("verify-best", "--study-name", "large", *places), 1, "no search study 'large'", "but: small.")


# Data, device and results


def names_of_training_files() -> list[str]:
    source = DATASETS["mnist"].source
    assert isinstance(source, IdxFiles)
    return list(source.training)


@pytest.mark.usefixtures("no_mirror")
def test_a_missing_data_file_is_one_line(places: list[str]) -> None:
    words = [names_of_training_files()[0], "cannot be downloaded", "--data-dir"]
    assert_refused(run("search", "--dataset", "mnist", *places), 1, *words)


@pytest.mark.parametrize("dataset", ["mnist", "auto"])
def test_a_damaged_data_file_is_an_error_never_a_reason_to_take_the_sample(
    dataset: str, places: list[str], tmp_path: Path
) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in names_of_training_files():
        (raw / name).write_bytes(b"damaged")
    assert_refused(run("search", "--dataset", dataset, *places), 1, "is damaged", str(raw))
    assert all((raw / name).read_bytes() == b"damaged" for name in names_of_training_files())


@pytest.mark.parametrize("command", ["search", "verify-best", "reproduce", "ablate"])
def test_a_device_that_is_not_there_is_one_line(command: str, places: list[str], tmp_path: Path) -> None:
    absent = "mps" if torch.cuda.is_available() else "cuda"
    words = [f"No {absent} device", "--device auto"]
    assert_refused(run(command, *COMMANDS[command], "--device", absent, *places), 1, *words)
    assert not (tmp_path / "study.db").exists()


@pytest.mark.parametrize("command", ["search", "verify-best", "reproduce", "ablate"])
def test_results_that_cannot_be_written_are_told_before_training(
    command: str, search_study: StoredStudy, storage_url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for results in (tmp_path / "file", tmp_path / "file" / "results"):
        refused = run(command, *COMMANDS[command], "--storage", storage_url, "--results-dir", results)
        assert_refused(refused, 1, "--results-dir", str(tmp_path / "file"))
    assert optuna.get_all_study_names(search_study.storage) == ["small"]
    assert len(search_study.trials()) == 5
