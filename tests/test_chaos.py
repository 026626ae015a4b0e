"""Commands that are hit by signals lose nothing: three rounds of `benchmarks/chaos.py`, and what they are judged by."""

import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from commands import run

from benchmarks import aftermath, chaos, disturbance, records
from benchmarks.aftermath import Aftermath, differences, look_at
from benchmarks.disturbance import Aim, Place, exit_codes
from benchmarks.records import Round, Shot
from search.provenance import Code

STUDY = "sample-1999p-1e"  # of `finished_search`
SEARCH = ["search", "--dataset", "sample", "--trials", "3", "--epochs", "1", "--max-params", "1999", "--quiet"]
HERE = ["--workers", "0"]  # in this process, which has loaded all that is needed


@pytest.fixture
def searched(finished_search: subprocess.CompletedProcess[str]) -> Path:
    """The folder of an undisturbed search."""
    [url] = [word for word in finished_search.args if word.startswith("sqlite:///")]
    return Path(url.removeprefix("sqlite:///")).parent


def hit(place: Place, words: list[str], aim: Aim) -> Shot:
    """Hits a command of one worker; asserts that it did nothing that none may do."""
    ended = place.run([*words, "--workers", "1"], aim)
    assert ended.faults == ()
    assert ended.shot is not None
    assert ended.shot.hit
    return ended.shot


def go_on(place: Place, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    assert run(*words, *HERE).exit_code == 0
    assert place.end_all() == []


def test_a_search_whose_group_gets_sigterm_goes_on_to_the_same_study(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(folder=tmp_path / "place")
    place.folder.mkdir()
    words = [*SEARCH, "--rerank", "1"]
    shot = hit(place, words, Aim(signal="SIGTERM", target="group", since="first worker", delay=4.0))
    assert shot.exit_code == 130
    go_on(place, words, monkeypatch)
    for study in (STUDY, f"{STUDY}-rerank"):
        found = look_at(place.folder, study)
        assert found.faults == ()
        assert differences(found, look_at(searched, study)) == []


def test_a_reranking_whose_parent_is_killed_goes_on_without_a_run_lost_or_done_twice(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(folder=Path(shutil.copytree(searched, tmp_path / "place")))
    words = [*SEARCH, "--rerank", "3"]
    shot = hit(place, words, Aim(signal="SIGKILL", target="parent", since="first worker", delay=3.5))
    assert shot.exit_code == -9
    go_on(place, words, monkeypatch)
    found = look_at(place.folder, f"{STUDY}-rerank")
    assert found.faults == ()
    assert len(found.outcomes) == 6
    assert look_at(searched, f"{STUDY}-rerank").outcomes.items() <= found.outcomes.items()


def test_a_proof_whose_worker_gets_sigint_ends_by_itself(searched: Path, tmp_path: Path) -> None:
    place = Place(folder=Path(shutil.copytree(searched, tmp_path / "place")))
    words = ["verify-best", "--seeds", "1", "--quiet"]
    shot = hit(place, words, Aim(signal="SIGINT", target="worker", since="first worker", delay=2.0))
    assert shot.exit_code == 0
    assert place.end_all() == []
    [study] = chaos._studies(place.folder) - chaos._studies(searched)
    found = look_at(place.folder, study)
    assert found.faults == ()
    assert (list(found.outcomes), found.interrupted) == (['{"seed": 10000}'], 0)
