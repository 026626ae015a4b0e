"""A search, summed up: the record, the table of trials, and whose the models are."""

import ast
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from recording import add_runs, open_reranking

import space
from search.config import ModelConfig, TrialConfig
from search.net.model import TinyCNN
from search.net.model_file import save_model
from search.net.model_origin import read_origin
from search.proof.summaries import ModelOrigin, SearchedTrial, StudySummary
from search.runs.models import WINNER_MODEL, model_path
from search.runs.reporting import summarise, write_search_records
from search.runs.standings import leading_trials, read_ranking, trials_to_rerank
from search.runs.winner import rebuild_config
from search.settings import BEST_MODEL
from search.studies.facts import StudyFacts, TrialFacts
from search.studies.opening import open_search_study
from search.studies.process import Owner
from search.studies.space import Space
from search.studies.storage import open_storage
from search.studies.study import Binding, StoredStudy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The results of `search_study`; nothing is there yet."""
    return tmp_path / "results" / "small"


@pytest.fixture
def summed_up(search_study: StoredStudy, folder: Path) -> Callable[[], StudySummary]:

    def sum_up() -> StudySummary:
        return write_search_records(search_study, read_ranking(search_study), folder)

    return sum_up


def described(trial: FrozenTrial) -> SearchedTrial:
    facts = TrialFacts.of(trial)
    assert facts.num_params is not None
    assert facts.channels is not None
    assert trial.value is not None
    return SearchedTrial(
        number=trial.number,
        val_accuracy=trial.value,
        num_params=facts.num_params,
        **facts.network,
        params=trial.params,
    )


def test_the_summary_is_about_the_whole_study(
    search_study: StoredStudy, storage_url: str, summed_up: Callable[[], StudySummary]
) -> None:
    summary = summed_up()
    assert (summary.study_name, summary.storage) == ("small", storage_url)
    assert (summary.dataset, summary.judged, summary.target, summary.device) == ("sample", False, 99.4, "cpu")
    assert (summary.epochs.trained, summary.epochs.saved_by_pruning) == (12, 3)
    assert summary.peak_memory_mb == 604  # the most of all trials', the running one's
    assert summary.best == described(search_study.trials()[2])
    assert summary.reranking is None
    counts = summary.trials
    assert (counts.total, counts.complete, counts.pruned) == (3, 2, 1)
    assert (counts.interrupted, counts.failed) == (1, 0)


def test_what_failed_is_counted_apart_from_what_was_interrupted(
    search_study: StoredStudy, summed_up: Callable[[], StudySummary]
) -> None:
    for reason in ("OutOfMemoryError: 12 GB", None):
        attributes = TrialFacts(fail_reason=reason).as_attributes() if reason else {}
        search_study.study.add_trial(
            optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs=attributes)
        )
    counts = summed_up().trials
    assert (counts.interrupted, counts.failed, counts.total) == (2, 1, 3)


def test_the_summary_says_what_the_search_was_made_with(
    search_study: StoredStudy, sample_binding: Binding, summed_up: Callable[[], StudySummary]
) -> None:
    StudyFacts(sampler="tpe", pruner="percentile", seed=7).write(search_study.study)
    made_with, facts = summed_up().settings, search_study.facts
    assert (made_with.sampler, made_with.pruner, made_with.seed) == ("tpe", "percentile", 7)
    for name in ("max_params", "epochs", "split", "space", "recipe"):
        assert getattr(made_with, name) == getattr(sample_binding, name)
    assert (made_with.commit, made_with.versions) == (facts.commit, facts.versions)


def test_the_summary_names_the_winner_once_it_is_settled(
    search_study: StoredStudy, summed_up: Callable[[], StudySummary]
) -> None:
    StudyFacts(num_reranked=2).write(search_study.study)
    assert summed_up().winner is None
    first, second = leading_trials(search_study, 2)
    reranking = open_reranking(search_study, 2)
    add_runs(reranking, first, 98.0, 98.0)
    summary = summed_up()
    assert summary.winner is None
    assert summary.reranking is not None
    assert [standing.number for standing in summary.reranking.standings] == [first.number]
    add_runs(reranking, second, 98.1, 98.1)
    summary = summed_up()
    assert (summary.winner, summary.best) == (described(second), described(first))
    assert summary.reranking is not None
    assert (summary.reranking.winner, summary.reranking.finished) == (second.number, True)


def test_a_study_without_a_complete_trial_has_no_best(
    storage: RDBStorage, sample_binding: Binding, folder: Path
) -> None:
    new = open_search_study(storage, "new", sample_binding, space.REFERENCE)
    summary = summarise(new, None, folder)
    assert (summary.best, summary.winner, summary.winner_model) == (None, None, None)
    assert summary.device is None
    assert summary.peak_memory_mb is None
    assert summary.seconds == 0


def test_the_summary_hides_a_password_in_the_query_of_a_url(
    search_study: StoredStudy, tmp_path: Path, folder: Path
) -> None:
    url = f"sqlite:///file:{tmp_path / 'study.db'}?password=secret&pwd=hush&timeout=1&uri=true"
    storage = open_storage(url)
    summary = summarise(StoredStudy.load(storage, "small"), None, folder)
    assert summary.storage.endswith("study.db?password=hidden&pwd=hidden&timeout=1&uri=true")
    assert summary.best == described(search_study.trials()[2])
    storage.remove_session()
    storage.engine.dispose()


def test_records_hold_the_summary_and_a_row_per_trial(
    search_study: StoredStudy, summed_up: Callable[[], StudySummary], folder: Path
) -> None:
    summary = summed_up()
    assert sorted(path.name for path in folder.iterdir()) == ["summary.json", "trials.csv"]
    assert StudySummary.read(folder / "summary.json") == summary
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["COMPLETE", "PRUNED", "COMPLETE", "FAIL", "RUNNING"]
    assert [row["ticket"] for row in rows] == ["0", "1", "2", "3", "3"]
    assert [row["epochs"] for row in rows] == ["4", "1", "4", "1", "2"]
    assert [row["val_accuracy"] for row in rows] == ["98.0", "60.0", "98.5", "", ""]
    for row, trial in zip(rows, search_study.trials(), strict=True):
        assert {name: ast.literal_eval(row[name]) for name in trial.params} == trial.params
        assert json.loads(row["channels"]) == trial.user_attrs["channels"]


# Whose the models are


@pytest.fixture
def save(search_study: StoredStudy, folder: Path, the_space: Space) -> Callable[..., bytes]:
    """Saves the model of a run, as its worker does, with what is given changed; returns the file's content."""

    def save(path: Path, searched: FrozenTrial, accuracy: float, **changes: Any) -> bytes:
        config: TrialConfig = rebuild_config(search_study, searched, the_space)
        origin = {
            "study_name": "small",
            "trial": searched.number,
            "seed": 7,
            "val_accuracy": accuracy,
            "num_params": config.model.num_params,
            "epochs": 4,
            "dataset": "sample",
            "precision": "fp32",
            "commit": "0123abc",
            "config": config,
        }
        found = ModelOrigin.model_validate(origin | changes)
        save_model(path, TinyCNN(config.model), config.model, found.model_dump_json())
        return path.read_bytes()

    return save


def test_without_a_reranking_the_winners_model_is_the_best_single_runs(
    search_study: StoredStudy, save: Callable[..., bytes], summed_up: Callable[[], StudySummary], folder: Path
) -> None:
    content = save(folder / BEST_MODEL, search_study.trials()[2], 98.5)
    assert summed_up().winner_model == WINNER_MODEL == "winner.safetensors"
    assert (folder / WINNER_MODEL).read_bytes() == content
    assert (folder / BEST_MODEL).read_bytes() == content


def test_after_a_reranking_the_winners_model_is_of_its_first_further_run(
    search_study: StoredStudy, save: Callable[..., bytes], summed_up: Callable[[], StudySummary], folder: Path
) -> None:
    first, second = leading_trials(search_study, 2)
    save(folder / BEST_MODEL, first, 98.5)
    reranking = open_reranking(search_study, 2)
    save(model_path(folder, first.number), first, 98.0)
    content = save(model_path(folder, second.number), second, 98.2)
    add_runs(reranking, first, 98.0, 98.0)
    add_runs(reranking, second, 98.2, 98.3)
    assert summed_up().winner_model == WINNER_MODEL
    assert (folder / WINNER_MODEL).read_bytes() == content
    origin = ModelOrigin.model_validate_json(read_origin(folder / WINNER_MODEL))
    assert (origin.trial, origin.val_accuracy) == (second.number, 98.2)


def test_while_there_is_no_winner_an_earlier_winners_model_goes(
    search_study: StoredStudy, save: Callable[..., bytes], summed_up: Callable[[], StudySummary], folder: Path
) -> None:
    best = save(folder / BEST_MODEL, search_study.trials()[2], 98.5)
    summed_up()
    assert (folder / WINNER_MODEL).exists()
    StudyFacts(num_reranked=5).write(search_study.study)
    assert summed_up().winner_model is None
    assert not (folder / WINNER_MODEL).exists()
    assert (folder / BEST_MODEL).read_bytes() == best


OTHER_CONFIG = TrialConfig(
    model=ModelConfig(channels=((2,), (3,), (4,))), augment=space.reference_config().augment, lr=0.02, weight_decay=0.01
)


CHANGES: dict[str, dict[str, Any] | None] = {
    "another trial": {"trial": 0},  # trained here; that of the leader, on another host
    "none": {"trial": None},
    "another run": {"val_accuracy": 98.25},
    "longer runs": {"epochs": 15},
    "another network": {"config": OTHER_CONFIG},
    "no file": None,
}


@pytest.mark.parametrize(
    ("change", "reranked"),
    [*((change, False) for change in CHANGES), *((change, True) for change in ("another run", "no file"))],
)
def test_a_model_that_is_not_the_winners_is_not_taken_for_it(
    search_study: StoredStudy,
    save: Callable[..., bytes],
    summed_up: Callable[[], StudySummary],
    folder: Path,
    change: str,
    reranked: bool,
) -> None:
    changes = CHANGES[change]
    [winner] = leading_trials(search_study, 1)
    path = model_path(folder, winner.number) if reranked else folder / BEST_MODEL
    if reranked:
        planned = trials_to_rerank(search_study, 1)
        for trial in planned:
            add_runs(open_reranking(search_study, 1), trial, *[98.5 - (trial.number != winner.number)] * 2)
    save(path, winner, 98.5)
    assert summed_up().winner_model == WINNER_MODEL
    if changes is None:
        path.unlink()
    else:
        save(path, winner, 98.5, **changes)
    summary = summed_up()
    assert summary.winner == described(winner)
    assert summary.winner_model is None
    why = "is not here" if changes is None else "is the model of another run"
    assert summary.winner_model_missing == f"{path.relative_to(folder)} {why}."
    assert not (folder / WINNER_MODEL).exists()


def test_where_the_winners_model_lies_is_told_if_it_is_not_here(
    search_study: StoredStudy, summed_up: Callable[[], StudySummary], folder: Path
) -> None:
    elsewhere = Owner(host="far", place="0123456789abcdef", pid=1, started=1.0).model_dump_json()
    with search_study.storage.engine.begin() as connection:
        owners = "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'owner'"
        connection.exec_driver_sql(owners, (elsewhere,))
    fresh = StoredStudy.load(open_storage(str(search_study.storage.url)), "small")
    found = summarise(fresh, None, folder).winner_model_missing
    assert found == f"{BEST_MODEL} is not here. The run was trained on host 'far'."


@pytest.mark.parametrize("content", [b"", b"damaged", b"\x08\0\0\0\0\0\0\0{}      "], ids=["empty", "text", "bare"])
def test_a_damaged_file_is_not_taken_for_the_winners_model(
    summed_up: Callable[[], StudySummary], folder: Path, content: bytes
) -> None:
    folder.mkdir(parents=True)
    (folder / BEST_MODEL).write_bytes(content)
    (folder / WINNER_MODEL).write_bytes(content)
    assert summed_up().winner_model is None
    assert summed_up().winner_model_missing == f"{BEST_MODEL} is damaged."
    assert not (folder / WINNER_MODEL).exists()
