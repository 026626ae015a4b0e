"""`status --fix`: says what is not as it should be, asks, and mends what can be mended."""

import json
import os
import pty
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from commands import ROOT, assert_refused, run
from evidence import ON_THE_SAMPLE, make_proof
from optuna.trial import TrialState, create_trial

from search.files import LEFT_BEHIND
from search.proof.evidence import KeptModel
from search.proof.summaries import StorageStatus, StudySummary
from search.runs.mending import find_repairs
from search.runs.models import WINNER_MODEL
from search.runs.reporting import summarise, write_search_records
from search.studies.process import Owner
from search.studies.study import StoredStudy
from search.studies.tickets import release_dead_trials


@pytest.fixture
def here(storage_url: str, tmp_path: Path) -> list[str]:
    return ["--storage", storage_url, "--results-dir", str(tmp_path / "results")]


@pytest.fixture
def folder(search_study: StoredStudy, tmp_path: Path) -> Path:
    """The results of `search_study`, as they should be; none of its trials runs any more."""
    for trial in search_study.trials((TrialState.RUNNING,)):
        search_study.study.tell(trial.number, state=TrialState.FAIL)
    found = tmp_path / "results" / "small"
    found.mkdir(parents=True)
    (found / "best-single-run.safetensors").touch()
    write_search_records(search_study, None, found)
    return found


@pytest.fixture
def searched(finished_search: subprocess.CompletedProcess[str], tmp_path: Path) -> tuple[Path, list[str]]:
    """A real search's results, and options that name them."""
    shutil.copytree(Path(finished_search.args[-1]).parent, tmp_path / "searched")
    places = ["--storage", f"sqlite:///{tmp_path / 'searched' / 'study.db'}"]
    places += ["--results-dir", str(tmp_path / "searched" / "results")]
    [summary] = (tmp_path / "searched" / "results").glob("*/summary.json")
    StudySummary.read(summary).model_copy(update={"storage": places[1]}).write(summary)
    return summary.parent, places


def mends(*words: str) -> list[dict[str, Any]]:
    found = json.loads(run("status", "--json", *words).stdout)
    assert StorageStatus.model_validate(found)
    return [mend for mend in found["mends"] if mend["how"] is not None]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_where_all_is_well_nothing_is_said_or_done(searched: tuple[Path, list[str]]) -> None:
    folder, places = searched
    before = contents(folder)
    assert "mended" not in run("status", *places).stdout
    assert mends(*places) == []
    result = run("status", "--fix", *places)
    assert (result.exit_code, result.stdout) == (0, "Nothing is to be mended.\n")
    assert contents(folder) == before


@pytest.mark.parametrize(
    "spoilt",
    [
        {"summary.json": None, "trials.csv": None, WINNER_MODEL: None},
        {"summary.json": b"{", "trials.csv": b"number\n0\n", WINNER_MODEL: b"damaged"},
    ],
    ids=["missing", "damaged"],
)
def test_files_that_are_missing_or_not_what_they_should_be_are_written_anew(
    spoilt: dict[str, bytes | None], searched: tuple[Path, list[str]]
) -> None:
    folder, places = searched
    before = contents(folder)
    for name, content in spoilt.items():
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
    last = run("status", *places).stdout.splitlines()[-1]
    assert last.startswith("1 thing can be mended: ")
    assert "cli.py status --fix --storage sqlite:///" in last
    [found] = mends(*places)
    assert found == {
        "what": str(folder),
        "why": f"not what the study comes to: {', '.join(spoilt)}",
        "how": "writes them anew",
        "done": False,
    }
    result = run("status", "--fix", "--yes", *places)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "Mended: 1. Left: 0."
    assert contents(folder) == before
    assert mends(*places) == []


def test_records_that_are_older_than_the_study_are_written_anew(
    folder: Path, search_study: StoredStudy, here: list[str]
) -> None:
    search_study.study.add_trial(create_trial(state=TrialState.FAIL))
    assert [each["what"] for each in mends(*here)] == [str(folder)]
    run("status", "--fix", "--yes", *here)
    assert StudySummary.read(folder / "summary.json").trials.interrupted == 3


def test_trials_without_a_worker_are_released_and_the_records_follow(
    folder: Path, search_study: StoredStudy, here: list[str]
) -> None:
    search_study.study.add_trial(create_trial(state=TrialState.RUNNING))
    [of_trials, of_records] = mends(*here)
    assert of_trials["what"] == "trial 5 of study 'small'"
    assert of_records["what"] == str(folder)
    assert run("status", "--fix", "--yes", *here).stdout.splitlines()[-1].startswith("Mended: 2.")
    assert search_study.trials()[5].state == TrialState.FAIL
    assert StudySummary.read(folder / "summary.json") == summarise(search_study, None, folder)
    assert release_dead_trials(search_study) == []


def test_what_a_living_command_is_at_work_on_is_left_alone(
    search_study: StoredStudy, here: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "results" / "small"
    folder.mkdir(parents=True)  # its records come in the end
    assert search_study.trials((TrialState.RUNNING,))  # by this process, which lives
    assert mends(*here) == []
    assert run("status", "--fix", *here).exit_code == 0
    assert list(folder.iterdir()) == []


def test_half_written_files_go_when_they_are_old(folder: Path, here: list[str]) -> None:
    for name, age in (("old", LEFT_BEHIND + 60), ("new", 0.0)):
        left = folder / f".summary.json.{name}.part"
        left.touch()
        os.utime(left, (0, time.time() - age))
    [found] = mends(*here)
    assert (Path(found["what"]).name, found["how"]) == (".summary.json.old.part", "deletes it")
    run("status", "--fix", "--yes", *here)
    assert [path.name for path in folder.glob(".*")] == [".summary.json.new.part"]


def test_results_that_are_elsewhere_are_not_missed(search_study: StoredStudy, here: list[str], tmp_path: Path) -> None:
    for trial in search_study.trials((TrialState.RUNNING,)):
        search_study.study.tell(trial.number, state=TrialState.FAIL)
    assert mends(*here) == []
    assert run("status", "--fix", *here).exit_code == 0
    assert not (tmp_path / "results").exists()


def test_the_record_of_a_study_in_another_storage_is_not_overwritten(
    folder: Path, search_study: StoredStudy, here: list[str]
) -> None:
    other = StudySummary.read(folder / "summary.json").model_copy(update={"storage": "sqlite:///other.db"})
    other.write(folder / "summary.json")
    assert mends(*here) == []
    run("status", "--fix", "--yes", *here)
    assert StudySummary.read(folder / "summary.json") == other


def test_a_damaged_model_cannot_be_mended_and_is_told(folder: Path, here: list[str]) -> None:
    result = run("status", "--fix", "--yes", *here)
    assert result.exit_code == 1
    line, last = result.stdout.splitlines()
    assert str(folder / WINNER_MODEL) in line
    assert "best-single-run.safetensors is damaged" in line
    assert "verify-best" in line
    assert line.endswith("--fix cannot mend this.")
    assert last == "Mended: 0. Left: 1."
    assert run("status", *here).stdout.splitlines()[-1] == line  # without --fix, too


def test_a_model_that_another_host_has_is_not_missed(folder: Path, search_study: StoredStudy, here: list[str]) -> None:
    elsewhere = Owner(host="far", place="0123456789abcdef", pid=1, started=1.0).model_dump_json()
    with search_study.storage.engine.begin() as connection:
        owners = "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'owner'"
        connection.exec_driver_sql(owners, (elsewhere,))
    (folder / "best-single-run.safetensors").unlink()
    result = run("status", "--fix", "--yes", *here)
    assert result.stdout.splitlines()[-1] == "Mended: 1. Left: 0."
    why = StudySummary.read(folder / "summary.json").winner_model_missing
    assert why == "best-single-run.safetensors is not here. The run was trained on host 'far'."


def test_a_proof_that_is_damaged_or_whose_model_is_missing_is_told(
    search_study: StoredStudy, here: list[str], tmp_path: Path
) -> None:
    place = tmp_path / "results" / "elsewhere"
    kept = KeptModel(file="seed.safetensors", seed=10_000, errors=9, errors_one_view=18)
    make_proof([9, 9], **ON_THE_SAMPLE, model=kept).write(place / "verify.json")
    (place / "verify-7.json").write_text("{")
    result = run("status", "--fix", "--json", *here)
    assert result.exit_code == 1
    why = [each["why"] for each in json.loads(result.stdout)["mends"]]
    assert "verify-7.json is damaged" in why[0]
    assert "seed.safetensors is missing. Restore it." in why[1]


def test_a_study_whose_set_up_was_cut_off_is_told(search_study: StoredStudy, here: list[str]) -> None:
    study = optuna.create_study(storage=search_study.storage, study_name="begun", direction="maximize")
    study.set_user_attr("split", "0123")
    optuna.create_study(storage=search_study.storage, study_name="foreign")
    [found] = find_repairs(search_study.storage, Path(here[-1]))
    assert (found.what, found.do) == ("study 'begun'", None)
    assert "the same command sets it up" in found.why


def test_where_nobody_can_be_asked_it_says_what_it_would_do_and_does_nothing(folder: Path, here: list[str]) -> None:
    (folder / "trials.csv").unlink()
    refused = run("status", "--fix", *here)
    assert refused.exit_code == 1
    assert "trials.csv. --fix writes them anew." in refused.stdout
    [line] = refused.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "--yes" in line
    assert not (folder / "trials.csv").exists()


@pytest.mark.parametrize(
    ("typed", "code", "written"),
    [
        pytest.param(b"y\n", 1, True, marks=pytest.mark.slow),
        (b"\n", 1, False),
        pytest.param(b"\x04", 130, False, marks=pytest.mark.slow),
    ],
)
def test_at_a_terminal_it_asks(typed: bytes, code: int, written: bool, folder: Path, here: list[str]) -> None:
    (folder / "trials.csv").unlink()
    ours, theirs = pty.openpty()
    command = [sys.executable, "cli.py", "status", "--fix", *here]
    with subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.write(ours, typed)
        assert process.wait(timeout=60) == code
    assert "Mend it? [y/N]" in os.read(ours, 65_536).decode()
    for end in (ours, theirs):
        os.close(end)
    assert (folder / "trials.csv").exists() is written


def test_json_lists_what_is_mended_and_what_is_left(folder: Path, here: list[str]) -> None:
    (folder / "trials.csv").unlink()
    result = run("status", "--fix", "--yes", "--json", *here)
    assert result.exit_code == 1
    found = StorageStatus.model_validate_json(result.stdout).mends
    assert [(Path(each.what).name, each.done) for each in found] == [("small", True), (WINNER_MODEL, False)]
    assert "Mended: 1. Left: 1." in result.stderr


def test_yes_goes_with_fix(here: list[str]) -> None:
    assert_refused(run("status", "--yes", *here), 2, "--yes goes with --fix")
