"""The dashboard is told what a study has come to, and the winner carries its files."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from evidence import make_frontier, make_point, make_proof
from optuna.artifacts import get_all_artifact_meta
from optuna_dashboard import get_note
from recording import add_runs, open_reranking

from search.config import TrialConfig
from search.runs.boards import CURVE, decorate
from search.runs.pages import gather
from search.runs.standings import trials_to_rerank
from search.settings import ARTIFACTS, RunSettings
from search.show.board import tell_story
from search.show.page.facts import PageFacts
from search.studies.optuna_private import artifacts_of, plots_of
from search.studies.space import Space
from search.studies.study import StoredStudy

ON_THE_SAMPLE = {"dataset": "sample", "judged": False, "num_images": 1_000, "study_name": "small"}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "results" / "small" / "report.html"
    path.parent.mkdir(parents=True)
    path.write_text("the first page")
    return path


@pytest.fixture
def facts(search_study: StoredStudy, storage_url: str, the_space: Space, tmp_path: Path) -> PageFacts:
    """Of a search whose first trial has won the re-ranking: not the best single run."""
    reranking = open_reranking(search_study, 2)
    for trial in trials_to_rerank(search_study, 2):
        add_runs(reranking, trial, *[99.0 if trial.number == 0 else 90.0] * 2)
    return gather(search_study, RunSettings(storage=storage_url, results_dir=tmp_path / "results"), the_space)


def test_a_search_opens_with_where_it_stands_and_who_has_won(
    search_study: StoredStudy, facts: PageFacts, page: Path
) -> None:
    decorate(search_study, facts, page.parent.parent, page)
    note = get_note(search_study.study)
    assert note.startswith("**Not proved yet: trial 0 has won the search")
    assert "So the winner is trial 0, and **not** trial 2, the *best trial* of this page" in note
    assert "python cli.py verify-best --seeds 5 --study-name small" in note
    assert f"`{page}`" in note


def test_the_best_single_run_that_ties_owes_nothing_to_luck(
    search_study: StoredStudy, facts: PageFacts, page: Path
) -> None:
    assert facts.summary.reranking is not None
    for tied, told in (((0, 2), "which only ties with it."), ((0,), "which owes more to luck.")):
        reranking = facts.summary.reranking.model_copy(update={"tied": tied})
        summary = facts.summary.model_copy(update={"reranking": reranking})
        assert told in tell_story(replace(facts, summary=summary), str(page))


def test_a_verdict_leads_the_note_and_its_seeds_are_drawn(
    search_study: StoredStudy, facts: PageFacts, page: Path, winner_config: TrialConfig
) -> None:
    decorate(search_study, facts, page.parent.parent, page)
    assert plots_of(search_study.study) == {"accuracy-against-parameters"}
    proof = make_proof([6, 7], trial=0, config=winner_config, **ON_THE_SAMPLE)
    frontier = make_frontier(make_point(1_000, 98.9, 99.0))
    decorate(search_study, replace(facts, proof=proof, frontier=frontier), page.parent.parent, page)
    assert get_note(search_study.study).startswith("**NOT JUDGED")
    assert plots_of(search_study.study) == {"accuracy-against-parameters", "seeds-against-target", "frontier"}


def test_studies_that_follow_say_whose_they_are_and_how_to_read_them(
    search_study: StoredStudy, facts: PageFacts, page: Path, verification: StoredStudy
) -> None:
    decorate(search_study, facts, page.parent.parent, page)
    note = get_note(verification.study)
    assert "The proof of trial 0 of **small**" in note
    assert "do not pick the *best trial*" in note
    reranking = StoredStudy.load(search_study.storage, "small-rerank")
    assert "decides who wins" in get_note(reranking.study)
    for follower, metric in ((verification, "test"), (reranking, "validation")):
        assert follower.study.metric_names == [f"{metric} accuracy (%)"]


def test_the_winner_carries_its_files_and_a_later_state_replaces_them(
    search_study: StoredStudy, facts: PageFacts, page: Path
) -> None:
    results = page.parent.parent
    (page.parent / "winner.safetensors").write_bytes(b"one model")
    decorate(search_study, facts, results, page)
    first = artifacts_of(search_study.study, 0)
    assert set(first) == {"winner.safetensors", CURVE}
    page.write_text("the second page")
    (page.parent / "winner.safetensors").write_bytes(b"another model")
    decorate(search_study, facts, results, page)
    assert artifacts_of(search_study.study, 0) == first
    kept = results / ARTIFACTS  # by identifier
    assert (kept / first["winner.safetensors"]).read_bytes() == b"another model"
    assert (kept / first[CURVE]).read_bytes().startswith(b"\x89PNG")
    [report] = get_all_artifact_meta(search_study.study)
    assert (kept / report.artifact_id).read_bytes() == b"the second page"
    assert len(list((results / ARTIFACTS).iterdir())) == 3


def test_what_was_true_of_an_earlier_winner_goes(
    search_study: StoredStudy, facts: PageFacts, page: Path, winner_config: TrialConfig
) -> None:
    results = page.parent.parent
    (page.parent / "winner.safetensors").write_bytes(b"one model")
    proof = make_proof([6, 7], trial=0, config=winner_config, **ON_THE_SAMPLE)
    decorate(search_study, replace(facts, proof=proof), results, page)
    earlier = artifacts_of(search_study.study, 0)
    assert facts.summary.winner is not None
    another = facts.summary.model_copy(update={"winner": facts.summary.winner.model_copy(update={"number": 2})})
    decorate(search_study, replace(facts, summary=another), results, page)
    assert artifacts_of(search_study.study, 0) == {}
    assert set(artifacts_of(search_study.study, 2)) == {"winner.safetensors", CURVE}
    assert not any((results / ARTIFACTS / identifier).exists() for identifier in earlier.values())
    attributes = search_study.study._storage.get_study_system_attrs(search_study.study._study_id)
    parts = sorted(key for key in attributes if key.startswith("dashboard:plot_data:seeds-against-target:"))
    assert "No longer holds" in "".join(attributes[part] for part in parts)


def test_a_command_that_follows_finds_its_study_whatever_was_searched_since(
    search_study: StoredStudy, facts: PageFacts, the_space: Space, tmp_path: Path
) -> None:
    settings = RunSettings(data_dir=tmp_path / "images", results_dir=tmp_path / "results")
    [line] = gather(search_study, settings, the_space).commands
    words = shlex.split(line)
    assert words[2] == "search"
    assert dict(zip(words[3::2], words[4::2], strict=True)) == {
        "--trials": "3",
        "--dataset": "sample",
        "--max-params": "1999",
        "--epochs": "4",
        "--rerank": "0",
        "--study-name": "small",
        "--storage": facts.summary.storage,
        "--data-dir": str(tmp_path / "images"),
        "--results-dir": str(tmp_path / "results"),
    }
    assert facts.places[:2] == ("--study-name", "small")


@pytest.mark.parametrize("name", ["a `tick`", "two words", "<b>bold</b>"])
def test_a_command_in_a_note_is_code_whatever_the_studys_name(facts: PageFacts, name: str) -> None:
    note = tell_story(replace(facts, places=("--study-name", name)), "report.html")
    [line] = [line for line in note.splitlines() if line.startswith("Prove the winner: ")]
    code = line.removeprefix("Prove the winner: ")
    fence = code[: len(code) - len(code.lstrip("`"))]
    assert code.endswith(fence)
    assert fence not in code[len(fence) : -len(fence)]
    assert shlex.quote(name) in code


def test_plots_are_what_plotly_reads(search_study: StoredStudy, facts: PageFacts, page: Path) -> None:
    decorate(search_study, facts, page.parent.parent, page)
    attributes = search_study.study._storage.get_study_system_attrs(search_study.study._study_id)
    parts = sorted(key for key in attributes if key.startswith("dashboard:plot_data:accuracy-against-parameters:"))
    drawn = json.loads("".join(attributes[part] for part in parts))
    assert [trace["name"] for trace in drawn["data"]] == ["complete trials", "the winner"]
