"""`status`: the studies of a storage."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from commands import ROOT, assert_refused, run
from optuna.trial import TrialState, create_trial

from search.studies.facts import TrialFacts
from search.studies.study import StoredStudy


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Away from the checkout, whose own results may hold something to mend."""
    monkeypatch.chdir(tmp_path)


def test_the_status_lists_studies_with_counts_best_and_stale_trials(
    search_study: StoredStudy, storage_url: str
) -> None:
    search_study.study.add_trial(create_trial(state=TrialState.RUNNING))
    facts = json.loads(run("status", "--storage", storage_url, "--json").stdout)
    (row,) = facts["studies"]
    assert (row["study_name"], row["kind"], row["dataset"]) == ("small", "search", "sample")
    assert row["trials"] == {"total": 3, "complete": 2, "pruned": 1, "failed": 0, "interrupted": 1}
    assert (row["best"], row["best_trial"], row["running"], row["stale"]) == (98.5, 2, 2, [5])
    text = run("status", "--storage", storage_url).stdout
    assert text.splitlines()[1].split() == ["small", "search", "2", "1", "2", "1", "98.50"]
    assert any(line.startswith("small: trial 5 left by workers that have ended") for line in text.splitlines())


def test_the_status_tells_what_was_cut_off_from_what_failed(search_study: StoredStudy, storage_url: str) -> None:
    broken = TrialFacts(fail_reason="OutOfMemoryError: 12 GB").as_attributes()
    for attributes in (broken, broken, {}):
        search_study.study.add_trial(create_trial(state=TrialState.FAIL, user_attrs=attributes))
    (row,) = json.loads(run("status", "--storage", storage_url, "--json").stdout)["studies"]
    assert (row["trials"]["interrupted"], row["trials"]["failed"]) == (2, 2)
    heading, line, held = run("status", "--storage", storage_url).stdout.splitlines()
    assert heading.split() == [
        "Study", "Kind", "Complete", "Pruned", "Running", "Interrupted", "Failed", "Best", "run", "%"
    ]  # fmt: skip
    assert line.split() == ["small", "search", "2", "1", "1", "2", "2", "98.50"]
    assert held.startswith("small: Trial 4: held by ")


def test_the_status_of_a_search_names_who_leads_or_has_won(search_study: StoredStudy, storage_url: str) -> None:
    lines = run("status", "small", "--storage", storage_url).stdout.splitlines()
    assert any(line.startswith("Best: trial 2, 98.50 % on validation, ") for line in lines)


def test_looking_changes_no_byte_of_a_database(search_study: StoredStudy, storage_url: str, tmp_path: Path) -> None:
    search_study.study.add_trial(create_trial(state=TrialState.RUNNING))
    search_study.storage.remove_session()
    search_study.storage.engine.dispose()
    packed_up = sqlite3.connect(tmp_path / "study.db")
    packed_up.execute("PRAGMA journal_mode=DELETE")
    packed_up.close()
    before = (tmp_path / "study.db").read_bytes()
    for words in ((), ("small",), ("--json",)):
        assert run("status", *words, "--storage", storage_url).exit_code == 0
    assert (tmp_path / "study.db").read_bytes() == before


@pytest.mark.usefixtures("verification")
def test_the_status_names_the_kind_of_each_study_and_those_of_other_tools(
    search_study: StoredStudy, storage_url: str
) -> None:
    optuna.create_study(storage=search_study.storage, study_name="foreign")
    lines = run("status", "--storage", storage_url).stdout.splitlines()
    kinds = [["small", "search"], ["small-verify-2", "verify"], ["foreign", "other"]]
    assert [line.split()[:2] for line in lines[1:4]] == kinds
    rows = json.loads(run("status", "--storage", storage_url, "--json").stdout)["studies"]
    assert [row["kind"] for row in rows] == ["search", "verify", None]


def test_the_leading_trials_of_a_search_are_told_by_its_name(search_study: StoredStudy, storage_url: str) -> None:
    result = run("status", "small", "--top", "1", f"--storage={storage_url}")
    assert result.exit_code == 0, result.output
    heading, row, _best = result.stdout.splitlines()[-3:]
    assert heading.split() == ["Trial", "Validation", "%", "Parameters", "Network"]
    best = search_study.best_trial()
    assert best is not None
    assert row.split()[:2] == [str(best.number), f"{best.value:.2f}"]
    told = json.loads(run("status", "small", "--json", f"--storage={storage_url}").stdout)
    assert [leader["number"] for leader in told["leaders"]] == [2, 0]
    assert json.loads(run("status", "--json", f"--storage={storage_url}").stdout)["leaders"] == []


def test_the_leading_trials_of_no_search_are_one_line(storage_url: str, search_study: StoredStudy) -> None:
    assert_refused(run("status", "other", f"--storage={storage_url}"), 1, "no search study 'other'")


def test_with_a_name_that_search_alone_is_told_and_why_trials_have_failed(
    search_study: StoredStudy, verification: StoredStudy, storage_url: str
) -> None:
    optuna.create_study(storage=search_study.storage, study_name="another")
    broken = TrialFacts(fail_reason="ZeroDivisionError: division by zero (mine.py:3)").as_attributes()
    search_study.study.add_trial(create_trial(state=TrialState.FAIL, user_attrs=broken))
    told = run("status", "small", "--storage", storage_url).stdout
    assert [line.split()[0] for line in told.splitlines()[1:3]] == ["small", verification.name]
    assert "another" not in told
    assert "Trial 5 failed: ZeroDivisionError: division by zero (mine.py:3)" in told.splitlines()
    facts = json.loads(run("status", "small", "--json", "--storage", storage_url).stdout)
    assert [row["study_name"] for row in facts["studies"]] == ["small", verification.name]
    assert [row["number"] for row in facts["failures"]] == [5]


def test_who_names_a_study_as_another_command_wants_it_is_told_how(storage_url: str) -> None:
    told = run("status", "--study-name", "small", "--storage", storage_url)
    assert_refused(told, 2, "Name the study without an option: status NAME.")
    assert_refused(run("report", "small", "--storage", storage_url), 2, "(small). Name a study with --study-name. See")
    assert "study" not in run("reproduce", "here", "there", "--storage", storage_url).stderr


def test_a_further_interrupt_while_libraries_tidy_up_at_exit_is_not_heard() -> None:
    code = (
        "import atexit, os, signal, sys; from search.commands.main import main; sys.argv[1:] = ['--version']; "
        "atexit.register(os.kill, os.getpid(), signal.SIGINT); main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
