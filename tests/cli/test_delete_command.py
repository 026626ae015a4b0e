"""`delete`: a search and what followed it, and nothing else."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from commands import ROOT, assert_refused, run
from optuna.storages import RDBStorage
from recording import add_runs, add_seed, open_reranking

import space
from search.config import TrialConfig
from search.proof.evidence import Proof
from search.runs.following import open_follower
from search.runs.winner import Choice
from search.studies.kinds import Kind
from search.studies.opening import open_search_study
from search.studies.study import Binding, StoredStudy


@pytest.fixture
def followed(search_study: StoredStudy, verification: StoredStudy) -> RDBStorage:
    """The search "small" of five trials, re-ranked and verified; beside it another search, and two of another tool."""
    best = search_study.best_trial()
    assert best is not None
    add_runs(open_reranking(search_study, 1), best, 98.0, 98.2)
    for seed in (10_000, 10_001, 10_002):
        add_seed(verification, seed)
    open_search_study(search_study.storage, "smaller", search_study.binding, space.REFERENCE)
    for name in ("foreign", "small-verify-7"):
        optuna.create_study(storage=search_study.storage, study_name=name)
    return search_study.storage


OTHERS = ["foreign", "small-verify-7", "smaller"]
ALL = sorted(["small", "small-rerank", "small-verify-2", *OTHERS])


def names(storage: RDBStorage) -> list[str]:
    return sorted(optuna.get_all_study_names(storage))


def test_a_search_is_deleted_with_what_followed_it_and_nothing_else(followed: RDBStorage, storage_url: str) -> None:
    result = run("delete", "small", "--yes", "--storage", storage_url)
    assert (result.exit_code, result.stderr) == (0, "")
    *told, last = result.stdout.splitlines()
    assert sorted(told) == ["small-rerank: 2 trials", "small-verify-2: 3 trials", "small: 5 trials"]
    assert last == "Deleted."
    assert names(followed) == OTHERS


def test_records_and_models_stay(followed: RDBStorage, places: list[str], tmp_path: Path) -> None:
    assert run("verify-best", "--seeds", "3", "--quiet", *places).exit_code == 0
    folder = tmp_path / "results" / "small"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.keys() >= {"verify.json", "verify.md"}
    assert run("delete", "small", "--yes", *places[:2]).exit_code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_a_deleted_verification_has_seen_still_counts(
    followed: RDBStorage, verification: StoredStudy, places: list[str], winner: Choice, winner_config: TrialConfig
) -> None:
    search = StoredStudy.load(followed, "small")
    add_seed(verification, 20_000, errors=71)  # as an earlier version recorded it: in its study alone
    assert run("delete", "small-verify-2", "--yes", *places[:2]).exit_code == 0
    assert "small-verify-2" not in names(followed)
    add_seed(open_follower(search, Kind.VERIFY, winner, winner_config), 30_000)
    result = run("verify-best", "--first-seed", "30000", "--seeds", "1", "--json", *places)
    assert result.exit_code == 0, result.stderr  # on the sample, nothing is judged
    proof = Proof.model_validate_json(result.stdout)
    found = [(row.seed, row.errors) for row in proof.seeds]
    assert found == [(10_000, 60), (10_001, 60), (10_002, 60), (20_000, 71), (30_000, 60)]


def test_a_follower_can_be_deleted_alone(followed: RDBStorage, storage_url: str) -> None:
    assert run("delete", "small-rerank", "--yes", "--storage", storage_url).exit_code == 0
    assert names(followed) == [name for name in ALL if name != "small-rerank"]


def test_what_followed_a_search_that_is_gone_is_deleted(followed: RDBStorage, storage_url: str) -> None:
    optuna.delete_study(study_name="small", storage=followed)
    result = run("delete", "small", "--yes", "--storage", storage_url)
    assert sorted(result.stdout.splitlines()[:-1]) == ["small-rerank: 2 trials", "small-verify-2: 3 trials"]
    assert names(followed) == OTHERS


@pytest.mark.parametrize("name", ["foreign", "small-verify-7"])
def test_another_tools_study_is_left_alone(name: str, followed: RDBStorage, storage_url: str) -> None:
    refused = run("delete", name, "--yes", "--storage", storage_url)
    assert_refused(refused, 1, f"Study {name!r} was not made by this tool")
    assert names(followed) == ALL


def test_a_study_that_is_not_there_is_refused(followed: RDBStorage, storage_url: str) -> None:
    assert_refused(run("delete", "large", "--yes", "--storage", storage_url), 1, "There is no study 'large'")
    assert names(followed) == ALL


def test_a_search_can_begin_anew_under_a_deleted_name(
    followed: RDBStorage, storage_url: str, sample_binding: Binding
) -> None:
    assert run("delete", "small", "--yes", "--storage", storage_url).exit_code == 0
    anew = open_search_study(followed, "small", sample_binding, space.REFERENCE)
    assert anew.complete_trials() == []


def test_where_nobody_can_be_asked_it_says_what_it_would_delete_and_deletes_nothing(
    followed: RDBStorage, storage_url: str
) -> None:
    refused = run("delete", "small", "--storage", storage_url)
    assert refused.exit_code == 1
    assert len(refused.stdout.splitlines()) == 3
    (line,) = refused.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "--yes" in line
    assert names(followed) == ALL


def delete_at_a_terminal(storage_url: str, typed: bytes) -> tuple[int, str]:
    """Runs the command in a terminal, where something is typed ahead; returns its exit code and what is to be seen."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "cli.py", "delete", "small", "--storage", storage_url]
    with subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.write(ours, typed)
        code = process.wait(timeout=60)
    seen = os.read(ours, 65_536).decode()
    for end in (ours, theirs):
        os.close(end)
    return code, seen


@pytest.mark.slow
def test_at_a_terminal_it_asks_and_deletes_when_told_to(followed: RDBStorage, storage_url: str) -> None:
    code, seen = delete_at_a_terminal(storage_url, b"y\n")
    assert code == 0
    assert "small-rerank: 2 trials" in seen
    assert "Delete them, with all their trials? [y/N]" in seen
    assert "Deleted." in seen
    assert names(followed) == OTHERS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [(b"\n", 1, "Nothing was deleted."), (b"\x04", 130, "Interrupted.")],
    ids=["no", "Ctrl-D"],
)
def test_at_a_terminal_it_deletes_nothing_unless_told_to(
    typed: bytes, code: int, words: str, followed: RDBStorage, storage_url: str
) -> None:
    ended, seen = delete_at_a_terminal(storage_url, typed)
    assert ended == code
    assert words in seen
    assert names(followed) == ALL
