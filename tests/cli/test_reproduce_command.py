"""`reproduce`: what it prints, and how it ends."""

import json
import shutil
from pathlib import Path

import optuna
import pytest
from commands import assert_refused, run
from recording import add_seed

import space
from search.proof.evidence import Proof
from search.runs.reproducing import open_reproduction_study
from search.studies.opening import open_search_study
from search.studies.study import Binding, StoredStudy


@pytest.fixture
def proved(verification: StoredStudy, places: list[str], tmp_path: Path) -> Path:
    """The folder of a proof over two seeds of 60 errors each."""
    for seed in (10_000, 10_001):
        add_seed(verification, seed)
    assert run("verify-best", "--seeds", "2", "--quiet", *places).exit_code == 0
    return tmp_path / "results" / "small"


@pytest.fixture
def repeated(proved: Path, verification: StoredStudy) -> StoredStudy:
    """Both seeds, trained anew with the same errors: a command finds them, and starts no worker."""
    study = open_reproduction_study(verification.storage, Proof.read(proved / "verify.json"))
    for seed in (10_000, 10_001):
        add_seed(study, seed)
    return study


@pytest.mark.usefixtures("repeated")
def test_a_reproduction_that_agrees_ends_with_0(proved: Path, places: list[str], tmp_path: Path) -> None:
    result = run("reproduce", proved, "--seeds", "2", *places)
    assert result.exit_code == 0, result.stderr
    assert "REPRODUCED" in result.stdout
    facts = json.loads(run("reproduce", proved, "--seeds", "2", "--json", *places).stdout)
    assert (facts["reproduced"], facts["identical"], facts["num_earlier"]) == (True, True, 2)
    (written,) = (tmp_path / "results").glob("small-reproduce-2-*/reproduce.json")
    assert json.loads(written.read_text()) == facts
    quiet = run("reproduce", proved, "--seeds", "2", "--quiet", *places)
    assert (quiet.exit_code, quiet.output) == (0, "")


@pytest.mark.usefixtures("repeated")
def test_a_reproduction_that_does_not_agree_ends_with_3_whatever_is_printed(proved: Path, places: list[str]) -> None:
    proof = Proof.read(proved / "verify.json")
    better = [seed.model_copy(update={"errors": 20, "test_accuracy": 99.8}) for seed in proof.seeds]
    Proof.model_validate({**dict(proof), "seeds": tuple(better)}).write(proved / "verify.json")
    told, printed, quiet = (
        run("reproduce", proved, "--seeds", "2", *option, *places) for option in ([], ["--json"], ["--quiet"])
    )
    assert [result.exit_code for result in (told, printed, quiet)] == [3, 3, 3], told.stderr
    assert json.loads(printed.stdout)["reproduced"] is False


def test_a_miss_that_a_reproduction_meets_counts_and_is_no_verdict_where_nothing_is_judged(
    proved: Path, repeated: StoredStudy, places: list[str]
) -> None:
    add_seed(repeated, 10_002, errors=61)
    result = run("reproduce", proved, "--seeds", "3", *places)
    assert "miss the proof's" not in result.stdout
    again = run("verify-best", "--seeds", "2", "--json", *places)
    assert again.exit_code == 0  # on the sample, nothing is judged
    facts = json.loads(again.stdout)
    assert [(row["errors"], row["command"]) for row in facts["seeds"]] == [
        (60, "verify-best"),
        (60, "verify-best"),
        (61, "reproduce"),
    ]
    assert facts["num_passed"] == 2


def test_a_place_without_a_record_is_named(places: list[str], tmp_path: Path) -> None:
    assert_refused(run("reproduce", tmp_path / "nowhere", *places), 1, "verify.json is missing", "results/reference")
    assert not (tmp_path / "study.db").exists()


@pytest.mark.usefixtures("repeated")
def test_a_search_of_that_name_can_begin_after_a_reproduction(
    proved: Path, places: list[str], verification: StoredStudy, sample_binding: Binding
) -> None:
    kept = shutil.copytree(proved, proved.with_name("kept"))
    storage = verification.storage
    for name in ("small", "small-verify-2"):
        optuna.delete_study(study_name=name, storage=storage)
    assert run("reproduce", kept, "--seeds", "2", "--quiet", *places).exit_code == 0
    open_search_study(storage, "small", sample_binding, space.REFERENCE)


def test_a_reproduction_is_deleted_with_the_search_of_its_name(repeated: StoredStudy, storage_url: str) -> None:
    result = run("delete", "small", "--yes", "--storage", storage_url)
    assert f"{repeated.name}: 2 trials" in result.stdout.splitlines()
    assert optuna.get_all_study_names(repeated.storage) == []
