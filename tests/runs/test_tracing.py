"""The frontier: a search at each budget, then a proof of each winner."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from commands import assert_refused, run
from evidence import make_frontier
from tiny import Listener

from search.config import RECIPE, ExplainedError
from search.net.datasets import DATASETS, DataError
from search.proof.evidence import Proof
from search.proof.frontier import Frontier, FrontierPoint
from search.proof.parts import RecordError
from search.runs import pages, tracing
from search.runs.proving import run_verification
from search.runs.session import Ended
from search.runs.tracing import run_frontier
from search.settings import FrontierSettings, VerifySettings
from search.studies.space import Space
from search.studies.storage import open_storage
from search.studies.study import StoredStudy, StudyError, study_names

RunFrontier = Callable[..., Ended[Frontier]]


@pytest.fixture
def listener() -> Listener:
    return Listener()


def settings_in(folder: Path) -> FrontierSettings:
    """A frontier of two budgets, of two trials of an epoch of 320 digits each, in this process."""
    return FrontierSettings(
        storage=f"sqlite:///{folder / 'study.db'}",
        data_dir=folder / "data",
        results_dir=folder / "results",
        dataset="few",
        device="cpu",
        precision="fp32",
        workers=0,
        budgets=(500, 600),
        trials=2,
        seeds=2,
        epochs=1,
        sampler="random",
        rerank=1,
        compare=0,
    )


@pytest.fixture
def draw(few_digits_are_a_dataset: None, tmp_path: Path, the_space: Space, listener: Listener) -> RunFrontier:
    """Draws one as `settings_in` says, with what is given changed."""
    return lambda **changes: run_frontier(replace(settings_in(tmp_path), **changes), the_space, listener)


@pytest.fixture(scope="module")
def drawn(few_digits_are_a_dataset: None, the_space: Space, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a frontier of the smaller budget, of one trial and one seed."""
    folder = tmp_path_factory.mktemp("drawn")
    smallest = replace(settings_in(folder), budgets=(500,), trials=1, seeds=1)
    with pytest.MonkeyPatch.context() as patch:  # as in a test
        patch.setattr("search.runs.history.COMMITTED", ())
        patch.setattr(pages, "write_page", create_autospec(pages.write_page, return_value=()))
        assert run_frontier(smallest, the_space, Listener()).record is not None
    return folder


@pytest.fixture
def draw_again(draw: RunFrontier, drawn: Path, tmp_path: Path) -> RunFrontier:
    """The same in a copy of the folder of `drawn`."""
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    return draw


def proof_settings(folder: Path, **changes: Any) -> VerifySettings:
    """A proof of what was searched at the smaller budget."""
    return VerifySettings(
        storage=f"sqlite:///{folder / 'study.db'}",
        data_dir=folder / "data",
        results_dir=folder / "results",
        device="cpu",
        precision="fp32",
        workers=0,
        study_name="few-500p-1e",
        **changes,
    )


@pytest.mark.slow
def test_each_budget_has_a_search_and_a_proof_and_all_searches_come_first(
    draw: RunFrontier, listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(tracing, "SHORTEST_SEARCH", 0.0)
        ended = draw()
    record = ended.record
    assert record is not None
    assert not ended.interrupted
    folder = tmp_path / "results" / "frontier-few-1e"
    assert sorted(path.name for path in folder.iterdir()) == ["frontier.json", "frontier.md", "frontier.png"]
    assert Frontier.read(folder / "frontier.json") == record
    assert [point.max_params for point in record.points] == [500, 600]
    for point in record.points:
        proof = Proof.read(tmp_path / "results" / f"few-{point.max_params}p-1e" / "verify.json")
        assert (point.study_name, point.trial) == (proof.study_name, proof.trial)
        assert point.test_accuracies == tuple(row.test_accuracy for row in proof.seeds)
        assert point.num_params == proof.num_params <= point.max_params
        assert point.tested == proof.tested[0]
        assert (len(point.errors), point.others, point.tested_before) == (2, (), 0)
    [left] = [line for line in listener.said if "the proofs included" in line]
    assert left.startswith("1 budget to search yet: about 0:00:")
    proofs = [line for line in listener.said if "to prove yet: about" in line]
    assert [line.split(" to prove")[0] for line in proofs] == ["4 seeds", "2 seeds"]
    names = [work.stored.name for work in listener.watched]
    assert names[:4] == ["few-500p-1e", "few-500p-1e-rerank", "few-600p-1e", "few-600p-1e-rerank"]
    assert all("-verify-" in name for name in names[4:])
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    assert StoredStudy.load(storage, "few-600p-1e").facts.warm_start == "few-500p-1e"
    listener.watched.clear()
    again = draw().record
    assert again is not None
    for point, before in zip(
        again.points, record.points, strict=True
    ):  # all is there; only that it was asked for is new
        assert (point.trial, point.errors, point.num_unmeasured) == (before.trial, before.errors, 0)
        assert (point.others, point.tested_before) == ((), 0)
    assert listener.watched == []
    # Nothing was left to tell of.
    assert sum("the proofs included" in line or "to prove yet" in line for line in listener.said) == 3


@pytest.mark.usefixtures("few_digits_are_a_dataset")
def test_an_interrupted_search_ends_the_command_before_any_proof_and_tells_what_there_is(
    places: list[str], storage_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.runs.session.in_processes", lambda *_, **__: True)  # as after Ctrl-C
    words = ["frontier", "--budgets", "500,600", "--dataset", "few", "--epochs", "1", "--trials", "2", *places]
    ended, quiet = run(*words, "--json"), run(*words, "--quiet")
    assert (ended.exit_code, quiet.exit_code) == (130, 130)
    record = Frontier.model_validate_json(ended.stdout)
    assert [(point.study_name, point.trial) for point in record.points] == [("few-500p-1e", None), (None, None)]
    assert quiet.stdout == ""
    assert study_names(open_storage(storage_url)) == ["few-500p-1e"]
    assert Frontier.read(tmp_path / "results" / "frontier-few-1e" / "frontier.json") == record


def test_a_budget_that_was_asked_for_once_is_always_shown(
    draw_again: RunFrontier, listener: Listener, tmp_path: Path
) -> None:
    first = Frontier.read(tmp_path / "results" / "frontier-few-1e" / "frontier.json")
    second = draw_again(budgets=(600,), trials=1, seeds=1).record
    assert second is not None
    assert [point.max_params for point in second.points] == [500, 600]
    assert second.points[0] == first.points[0]
    assert [point.tested_before for point in second.points] == [0, 1]
    assert "Budgets that were asked for before are shown as well: 500." in listener.said


class StopHereError(Exception):
    """Nothing is searched."""


@pytest.fixture
def nothing_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_args: Any) -> None:
        raise StopHereError

    monkeypatch.setattr(tracing, "run_search", stop)


@pytest.mark.usefixtures("nothing_is_searched")
def test_the_budgets_are_on_record_before_anything_starts(draw: RunFrontier, tmp_path: Path) -> None:
    with pytest.raises(StopHereError):
        draw()
    record = Frontier.read(tmp_path / "results" / "frontier-few-1e" / "frontier.json")
    assert [(point.max_params, point.trial) for point in record.points] == [(500, None), (600, None)]


@pytest.mark.usefixtures("nothing_is_searched")
def test_a_data_set_without_a_target_needs_one_before_anything_starts(
    draw: RunFrontier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "few", replace(DATASETS["few"], target=None))
    with pytest.raises(DataError, match="few has no target of its own: name one, in percent, with --target"):
        draw()
    assert not (tmp_path / "study.db").exists()
    with pytest.raises(StopHereError):
        draw(target=Decimal("1.5"))
    assert Frontier.read(tmp_path / "results" / "frontier-few-1e" / "frontier.json").target == 1.5


def test_a_frontier_of_other_images_is_not_continued(draw_again: RunFrontier, tmp_path: Path) -> None:
    path = tmp_path / "results" / "frontier-few-1e" / "frontier.json"
    Frontier.read(path).model_copy(update={"dataset": "/elsewhere/few"}).write(path)
    before = path.read_bytes()
    with pytest.raises(RecordError, match=r"is of another data set \(/elsewhere/few, now few\)"):
        draw_again()
    assert path.read_bytes() == before


@pytest.mark.usefixtures("draw_again")
def test_a_seed_that_another_command_measures_counts_in_the_frontier(tmp_path: Path, the_space: Space) -> None:
    run_verification(proof_settings(tmp_path, seeds=3), the_space, Listener())
    path = tmp_path / "results" / "frontier-few-1e" / "frontier.json"
    assert len(Frontier.read(path).points[0].errors) == 3
    assert "| 3 |" in path.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_winner_is_known_as_such_before_the_frontiers_own_proof_of_it(
    draw: RunFrontier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, the_space: Space
) -> None:
    def look(*_args: Any) -> Ended[Any]:
        """A proof of one seed, by another command; the frontier's own is cut off."""
        run_verification(proof_settings(tmp_path, seeds=1), the_space, Listener())
        return Ended(record=None, interrupted=True)

    with monkeypatch.context() as patched:
        patched.setattr(tracing, "run_verification", look)
        assert draw(budgets=(500,), trials=1).interrupted
    [point] = Frontier.read(tmp_path / "results" / "frontier-few-1e" / "frontier.json").points
    assert (len(point.errors), point.others) == (1, ())
    record = draw(budgets=(600,), trials=1, seeds=1).record
    assert record is not None
    assert [each.tested_before for each in record.points] == [0, 1]


@pytest.mark.page
@pytest.mark.slow
def test_another_trial_that_is_tested_is_told_beside_the_winner(
    draw: RunFrontier, tmp_path: Path, the_space: Space
) -> None:
    record = draw(budgets=(500,), trials=2, seeds=1).record
    assert record is not None
    [winner] = [point.trial for point in record.points]
    run_verification(proof_settings(tmp_path, seeds=1, trial=1 - (winner or 0)), the_space, Listener())
    [point] = Frontier.read(tmp_path / "results" / "frontier-few-1e" / "frontier.json").points
    assert ([each.trial for each in point.others], len(point.errors)) == ([1 - (winner or 0)], 1)


@pytest.mark.parametrize(("name", "what"), [("space", "search space"), ("recipe", "recipe")])
def test_points_of_another_space_or_recipe_are_not_mixed(
    draw: RunFrontier, tmp_path: Path, the_space: Space, name: str, what: str
) -> None:
    dataset, path = DATASETS["few"], tmp_path / "results" / "frontier-few-1e" / "frontier.json"
    path.parent.mkdir(parents=True)
    values = {"space": the_space.hash, "recipe": RECIPE} | {name: "feed" if name == "space" else 1}
    make_frontier(FrontierPoint(max_params=700), dataset=dataset.name, judged=False, epochs=1, **values).write(path)
    before = path.read_bytes()
    with pytest.raises(RecordError, match=f"is of another {what} .* Name another --results-dir"):
        draw()
    assert path.read_bytes() == before


@pytest.mark.parametrize("budgets", [(), (499,), (600, 500), (500, 500), (500, 100_001)])
def test_budgets_of_the_library_are_checked_before_they_are_on_record(budgets: tuple[int, ...]) -> None:
    with pytest.raises(ExplainedError, match="budgets have to be from 500 to 100,000, each once, the smallest first"):
        FrontierSettings(budgets=budgets)


def test_without_reranking_there_is_no_winner_to_prove(draw: RunFrontier, tmp_path: Path) -> None:
    with pytest.raises(ExplainedError, match="rerank at least one trial"):
        draw(rerank=0)
    assert not (tmp_path / "study.db").exists()


def test_a_study_that_was_made_otherwise_is_told_before_anything_starts(
    draw_again: RunFrontier, tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (tmp_path / "results" / "frontier-few-1e" / "frontier.json").read_bytes()
    monkeypatch.setattr(Space, "hash", "0123456789abcdef")
    with pytest.raises(
        StudyError, match=r"Study 'few-500p-1e' was made with another search space \(--space, or space\.py\)"
    ):
        draw_again()
    assert listener.watched == []
    assert "few-600p-1e" not in study_names(open_storage(f"sqlite:///{tmp_path / 'study.db'}"))
    assert (tmp_path / "results" / "frontier-few-1e" / "frontier.json").read_bytes() == before


def test_a_damaged_record_is_not_overwritten(draw: RunFrontier, tmp_path: Path) -> None:
    path = tmp_path / "results" / "frontier-few-1e" / "frontier.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(RecordError, match="is damaged"):
        draw()
    assert path.read_text() == "{"


@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        ("499", "a budget is a number from 500 to 100000"),
        ("100001", "a budget is a number from 500 to 100000"),
        ("2000,1000", "name each budget once, the smallest first"),
        ("1000,1000", "name each budget once, the smallest first"),
        ("many", "'many' is not a list of budgets. Write 1000,2000,7999."),
        ("1000,,2000", "'1000,,2000' is not a list of budgets"),
        ("-1000", "'-1000' is not a list of budgets"),
        ("", "'' is not a list of budgets"),
    ],
)
def test_budgets_that_cannot_be_are_refused(budgets: str, words: str, places: list[str]) -> None:
    assert_refused(run("frontier", "--budgets", budgets, *places), 2, words)
