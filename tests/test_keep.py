"""What is committed of a study says nothing of the machine that made it."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from evidence import make_frontier, make_point, make_summary

from search.proof.summaries import StudySummary
from search.settings import COMMITTED
from tools import keep


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with a study, whose trials have owners and whose note names the folder, and with results."""
    here = tmp_path / "here"
    shutil.copytree(COMMITTED[1], here / "results" / "small")
    database = shutil.move(here / "results" / "small" / "study.db", here)
    (here / "results" / "small" / "report.html").touch()
    make_summary(storage=f"sqlite:///{here}/study.db").write(here / "results" / "small" / "summary.json")
    (here / "results" / "frontier-mnist-15e").mkdir()
    for name in keep.OF_A_FRONTIER:
        (here / "results" / "frontier-mnist-15e" / name).touch()
    point = make_point(1_000, 98.9, study_name="small")
    make_frontier(point).write(here / "results" / "frontier-mnist-15e" / "frontier.json")
    (here / "results" / "another").mkdir()
    make_summary(study_name="another").write(here / "results" / "another" / "summary.json")
    with closing(sqlite3.connect(database)) as connection:
        for table, of, key, value in (
            ("trial_user_attributes", "trial_id", "owner", '{"host": "somewhere"}'),
            ("study_system_attributes", "study_id", "artifacts:1", '"report.html"'),
            ("study_system_attributes", "study_id", "note", f'"see {here}/results"'),
        ):
            connection.execute(f"INSERT INTO {table} ({of}, key, value_json) VALUES (1, ?, ?)", (key, value))
        connection.commit()
    return here


def run(here: Path, target: Path, *options: str) -> tuple[int, str]:
    found = CliRunner().invoke(keep.main, [str(here / "study.db"), str(here / "results"), str(target), *options])
    return found.exit_code, found.output


def test_records_are_kept_and_what_is_of_this_machine_is_not(workplace: Path, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    assert run(workplace, target) == (0, f"Kept in {target}.\n")
    assert sorted(path.name for path in target.iterdir()) == [*sorted(keep.OF_A_FRONTIER), "small", "study.db"]
    kept = {path.name for path in (target / "small").iterdir()}
    assert {"summary.json", "trials.csv", "verify.json", "attempts.jsonl"} <= kept
    assert "report.html" not in kept
    assert StudySummary.read(target / "small" / "summary.json") == make_summary(storage="sqlite:///study.db")
    with closing(sqlite3.connect(target / "study.db")) as connection:
        known = dict(connection.execute("SELECT key, value_json FROM study_system_attributes").fetchall())
        owners = connection.execute("SELECT count(*) FROM trial_user_attributes WHERE key = 'owner'").fetchone()
    assert owners == (0,)
    assert known["note"] == '"see results"'
    assert "artifacts:1" not in known
    assert run(workplace, target)[0] == 0  # again, over what is there
    for path in target.rglob("*"):
        assert not path.is_file() or str(workplace).encode() not in path.read_bytes()


def test_a_record_that_names_this_machine_is_told(workplace: Path, tmp_path: Path) -> None:
    (workplace / "results" / "small" / "trials.csv").write_text(f"made in {Path.home()}/somewhere", encoding="utf-8")
    code, told = run(workplace, tmp_path / "kept")
    assert code == 1
    assert told == "Error: These name this machine or a folder of it: small/trials.csv.\n"
    assert not (tmp_path / "kept").exists()


def test_the_readmes_study_has_its_place_and_a_ledger_is_only_added_to(workplace: Path, tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    reference.mkdir()
    (reference / "attempts.jsonl").write_text("of an earlier study\n", encoding="utf-8")
    (reference / "verify-31-seed-9.md").touch()  # of an earlier winner
    (reference / "throughput.json").touch()
    for _ in range(2):
        assert run(workplace, tmp_path / "kept", "--reference", "small")[0] == 0
        own = (workplace / "results" / "small" / "attempts.jsonl").read_text(encoding="utf-8")
        assert (reference / "attempts.jsonl").read_text(encoding="utf-8") == "of an earlier study\n" + own
    names = {path.name for path in reference.iterdir()}
    assert {"verify.json", "answers.json", "throughput.json"} <= names
    assert "verify-31-seed-9.md" not in names
    assert not (tmp_path / "kept" / "small").exists()


def test_a_repetition_is_kept_with_what_it_repeats(workplace: Path, tmp_path: Path) -> None:
    repeated = workplace / "results" / "small-reproduce-7-0123"
    repeated.mkdir()
    (repeated / "reproduce.json").write_text("{}", encoding="utf-8")
    (repeated / "attempts.jsonl").write_text("a look\n", encoding="utf-8")
    own = (workplace / "results" / "small" / "attempts.jsonl").read_text(encoding="utf-8")
    assert run(workplace, tmp_path / "kept")[0] == 0
    assert (tmp_path / "kept" / "small" / "reproduce.json").read_text(encoding="utf-8") == "{}"
    assert (tmp_path / "kept" / "small" / "attempts.jsonl").read_text(encoding="utf-8") == own + "a look\n"


def test_a_ledger_comes_along_wherever_its_study_lies(workplace: Path, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    assert run(workplace, target)[0] == 0
    own = (target / "small" / "attempts.jsonl").read_text(encoding="utf-8")
    (target / "small" / "attempts.jsonl").write_text("of before\n" + own, encoding="utf-8")
    assert run(workplace, target)[0] == 0
    assert (target / "small" / "attempts.jsonl").read_text(encoding="utf-8") == "of before\n" + own
    assert run(workplace, target, "--reference", "small")[0] == 0
    assert (tmp_path / "reference" / "attempts.jsonl").read_text(encoding="utf-8") == "of before\n" + own
    assert not (target / "small").exists()
    (target / "former").mkdir()
    (target / "former" / "attempts.jsonl").touch()
    code, told = run(workplace, target)
    assert (code, told) == (1, f"Error: {target} has ledgers of studies that are no longer there: former.\n")
    assert (target / "former" / "attempts.jsonl").exists()


@pytest.mark.parametrize("target", ["here", "here/results", "kept"])
def test_a_folder_of_something_else_is_not_replaced(workplace: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "letters.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    code, told = run(workplace, tmp_path / target)
    assert (code, told.count("name another")) == (1, 1)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ("here/results/frontier", (), "is within"),
        ("kept", ("--reference", "another"), "The frontier has no study 'another' with a winner."),
    ],
)
def test_what_cannot_be_kept_is_one_line_and_touches_nothing(
    workplace: Path, tmp_path: Path, target: str, options: tuple[str, ...], told: str
) -> None:
    code, words = run(workplace, tmp_path / target, *options)
    assert (code, told in words, len(words.splitlines())) == (1, True, 1)
    assert not (tmp_path / target).exists()
    assert not (tmp_path / "reference").exists()
