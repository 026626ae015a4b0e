"""A search, from its settings to its record; and what one of its trials leaves."""

import copy
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from tiny import CHANNELS, FIRST, TINY_SPACE, Listener, TinySearch

import space
from search.config import derive_seed
from search.net.crops import ALL_CROPS, CENTRE, Crops
from search.net.data import Split
from search.net.device import Runtime
from search.net.model import TinyCNN
from search.net.model_file import load_model
from search.net.model_origin import read_origin
from search.net.train import Evaluation, evaluate
from search.proof.summaries import ModelOrigin, StudySummary
from search.provenance import versions
from search.runs.models import model_path
from search.runs.pages import PAGE
from search.runs.searching import run_search
from search.runs.session import Ended
from search.settings import BEST_MODEL, SearchSettings
from search.studies.facts import StudyFacts, TrialFacts
from search.studies.job import Result, ShouldStop, Task
from search.studies.kinds import StudyNameError
from search.studies.space import SpaceError
from search.studies.storage import open_storage
from search.studies.study import StoredStudy, StudyError

# What a trial leaves


def origin_of(path: Path) -> ModelOrigin:
    return ModelOrigin.model_validate_json(read_origin(path))


def test_the_best_model_evaluated_again_gives_the_recorded_accuracy(tiny: TinySearch) -> None:
    for _ in range(3):
        tiny.run_next()
    best = tiny.stored.best_trial()
    assert best is not None
    facts = TrialFacts.of(best)
    evaluation = evaluate(load_model(tiny.model_path), tiny.resources.validation, tiny.resources.runtime, ALL_CROPS)
    assert evaluation.accuracy == best.value
    assert evaluation.loss == pytest.approx(facts.val_loss, rel=1e-5)
    origin = origin_of(tiny.model_path)
    assert (origin.study_name, origin.trial, origin.val_accuracy) == ("tiny", best.number, best.value)
    assert origin.seed == facts.seed
    assert (origin.config.lr, origin.config.model.channels) == (best.params["lr"], CHANNELS)
    assert (origin.commit, origin.versions) == (tiny.code.commit, versions())


@dataclass(frozen=True, kw_only=True)
class KilledOnceKept:
    """Is cut off after its model was saved."""

    task: Task

    def prepare(self, device: str) -> Any:
        return self.task.prepare(device)

    def run(self, trial: optuna.Trial, resources: Any, should_stop: ShouldStop) -> Result:
        result = self.task.run(trial, resources, should_stop)

        def keep(search: StoredStudy) -> None:
            assert result.keep is not None
            result.keep(search)
            raise KeyboardInterrupt

        return replace(result, keep=keep)

    def recover(self) -> None:
        self.task.recover()


def test_a_model_is_saved_before_its_trial_counts(tiny: TinySearch) -> None:
    with pytest.raises(KeyboardInterrupt):
        tiny.run_next(task=KilledOnceKept(task=tiny.task))
    assert tiny.stored.trials()[0].state == TrialState.RUNNING
    assert origin_of(tiny.model_path).trial == 0


@pytest.mark.parametrize(("value", "saved"), [(100.0, False), (0.0, True)])
def test_a_model_is_saved_only_if_it_leads(tiny: TinySearch, value: float, saved: bool) -> None:
    tiny.stored.study.add_trial(optuna.trial.create_trial(value=value))
    tiny.run_next()
    assert tiny.model_path.exists() is saved


def test_an_equal_result_leaves_the_earlier_model(tiny: TinySearch) -> None:
    value = tiny.run_next().value
    twin = optuna.create_study(storage=tiny.stored.storage, study_name="twin", direction="maximize")
    twin.add_trial(optuna.trial.create_trial(value=value))
    twin.enqueue_trial(FIRST)
    folder = tiny.task.folder.with_name("twin")
    again = replace(tiny, stored=StoredStudy(twin, tiny.stored.storage)).changed(folder=folder)
    assert again.run_next().value == value
    assert not again.model_path.exists()


def test_a_trial_can_be_sent_to_a_worker(tiny: TinySearch) -> None:
    task = replace(tiny.task, suggest_config=space.suggest_config)
    assert pickle.loads(pickle.dumps(task)) == task


# A whole search

Search = Callable[..., Ended[StudySummary]]


def settings_in(folder: Path) -> SearchSettings:
    """A search of three trials of an epoch of 320 digits, in this process."""
    return SearchSettings(
        storage=f"sqlite:///{folder / 'study.db'}",
        study_name="tiny",
        data_dir=folder / "data",
        results_dir=folder / "results",
        dataset="few",
        device="cpu",
        precision="fp32",
        workers=0,
        trials=3,
        max_params=1_000,
        epochs=1,
        sampler="random",
        rerank=2,
        compare=0,
        seed=7,
    )


@pytest.fixture(scope="module")
def finished(
    few_digits_are_a_dataset: None, empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Ended[StudySummary]]:
    """The folder of a search that is finished, and how it ended."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(empty_database, folder / "study.db")
    return folder, run_search(settings_in(folder), TINY_SPACE, Listener())


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def search(few_digits_are_a_dataset: None, empty_database: Path, tmp_path: Path, listener: Listener) -> Search:
    """Searches as `settings_in` says, with what is given changed, in an empty folder."""
    shutil.copy(empty_database, tmp_path / "study.db")
    usual = settings_in(tmp_path)
    return lambda space=TINY_SPACE, **settings: run_search(replace(usual, **settings), space, listener)


@pytest.fixture
def search_again(search: Search, finished: tuple[Path, Ended[StudySummary]], tmp_path: Path) -> Search:
    """The same in a copy of the folder of the finished search."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    return search


@pytest.fixture
def storage_here(tmp_path: Path) -> Iterator[RDBStorage]:
    """The database that `search` and `search_again` use."""
    storage = open_storage(settings_in(tmp_path).storage)
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_search_leaves_its_records_and_its_models(finished: tuple[Path, Ended[StudySummary]]) -> None:
    folder, ended = finished[0] / "results" / "tiny", finished[1]
    summary = ended.record
    assert summary is not None
    assert not ended.interrupted
    assert (summary.trials.total, summary.trials.complete) == (3, 3)
    assert StudySummary.read(folder / "summary.json") == summary
    assert summary.reranking is not None
    leading = [standing.number for standing in summary.reranking.standings]
    assert len(leading) == 2
    further = [f"further-runs/trial-{number}.safetensors" for number in leading]
    assert names_in(folder) == sorted([BEST_MODEL, *further, PAGE, "summary.json", "trials.csv", "winner.safetensors"])


@pytest.mark.usefixtures("search_again")
def test_the_models_of_the_best_run_and_of_the_winner_say_whose_they_are(
    finished: tuple[Path, Ended[StudySummary]], storage_here: RDBStorage
) -> None:
    folder, summary = finished[0] / "results" / "tiny", finished[1].record
    assert summary is not None
    assert summary.best is not None
    best = origin_of(folder / BEST_MODEL)
    assert (best.study_name, best.trial) == ("tiny", summary.best.number)
    assert best.val_accuracy == summary.best.val_accuracy
    assert summary.winner is not None
    assert summary.winner_model == "winner.safetensors"
    runs = StoredStudy.load(storage_here, "tiny-rerank").complete_trials()
    [first_run] = [run for run in runs if run.params == {"trial": summary.winner.number, "run": 0}]
    winner = origin_of(folder / "winner.safetensors")
    assert (winner.study_name, winner.trial) == ("tiny", summary.winner.number)
    assert (winner.val_accuracy, winner.seed) == (first_run.value, TrialFacts.of(first_run).seed)
    assert (folder / "winner.safetensors").read_bytes() == model_path(folder, summary.winner.number).read_bytes()


def test_without_a_reranking_the_winner_is_the_best_single_run(search: Search, tmp_path: Path) -> None:
    summary = search(rerank=0, trials=2).record
    assert summary is not None
    assert summary.winner == summary.best
    assert (summary.reranking, summary.winner_model) == (None, "winner.safetensors")
    folder = tmp_path / "results" / "tiny"
    assert (folder / "winner.safetensors").read_bytes() == (folder / BEST_MODEL).read_bytes()


@pytest.mark.slow
def test_a_time_limit_lets_each_command_get_something_done_and_the_winners_model_is_there_once_it_is_settled(
    search: Search, tmp_path: Path
) -> None:
    progress = []
    for trials, rerank in ((1, 0), (2, 1), (2, 1), (2, 1)):
        ended = search(trials=trials, rerank=rerank, timeout=1e-9)
        summary = ended.record
        assert summary is not None
        assert not ended.interrupted
        num_reranked = len(summary.reranking.standings) if summary.reranking is not None else None
        has_model = (tmp_path / "results" / "tiny" / "winner.safetensors").exists()
        assert has_model is (summary.winner is not None) is (summary.winner_model is not None)
        progress.append((summary.trials.total, num_reranked, has_model))
    assert progress == [(1, None, True), (2, None, False), (2, 0, False), (2, 1, True)]


def test_a_search_says_what_it_does_and_what_follows(search: Search, listener: Listener) -> None:
    search(trials=1, rerank=3, compare=6)
    searching, reranking, comparing = listener.watched
    assert [work.stored.name for work in listener.watched] == ["tiny", "tiny-rerank", "tiny-rerank"]
    assert (searching.epochs, searching.devices, searching.precision) == (1, ("cpu",), "fp32")
    assert searching.then is not None
    assert (searching.then.name, searching.then.num_runs) == ("re-ranking", 2 * (1 + 1) + 2 * 6)
    assert reranking.then is not None
    assert (reranking.then.name, reranking.then.num_runs) == ("the comparison", 2 * 6)
    assert comparing.then is None
    assert listener.said == [
        "Re-ranking the leading 1 (3 were to be, but no more are complete) by 2 further runs each.",
        "The study's first trial has won. To tell what it reaches, it is run 6 more times.",
    ]


def test_records_of_another_storage_are_not_replaced_in_silence(
    search: Search, search_again: Search, listener: Listener, tmp_path: Path
) -> None:
    search_again(trials=3)  # in a copy of the folder: of the same study
    assert listener.warned == []
    search(storage=f"sqlite:///{tmp_path / 'another.db'}", trials=1, rerank=0, seed=8)
    [warning] = listener.warned
    folder = tmp_path / "results" / "tiny"
    assert warning.startswith(f"{folder} holds the records of another study of this name, in sqlite:///")
    assert warning.endswith("they are replaced. To keep them, name another --results-dir or --study-name.")


def test_without_a_reranking_nothing_follows(search: Search, listener: Listener) -> None:
    search(trials=1, rerank=0)
    assert [work.then for work in listener.watched] == [None]


def test_a_search_that_has_more_trials_than_are_asked_for_says_that_it_adds_none(
    search_again: Search, listener: Listener
) -> None:
    summary = search_again(trials=1, rerank=0).record
    assert summary is not None
    assert summary.trials.total == 3
    assert listener.said == [
        "The earlier re-ranking stands, as long as no other trial comes to lead.",
        "The study has 3 trials already: --trials 1 adds none.",
    ]
    assert listener.watched == []


def test_what_was_reranked_before_counts_too_and_is_told(
    search_again: Search, listener: Listener, storage_here: RDBStorage
) -> None:
    stored = StoredStudy.load(storage_here, "tiny")
    better = copy.deepcopy(stored.trials()[0])
    better.value = 100.0
    better.user_attrs["ticket"] = 3
    stored.study.add_trial(better)
    summary = search_again(trials=4, rerank=1).record
    assert summary is not None
    assert any(message.startswith("Re-ranked before, and counted, too: trial") for message in listener.said)
    assert "Re-ranking the leading 1, and the study's first trial, by 2 further runs each." in listener.said
    assert summary.reranking is not None
    assert summary.reranking.finished
    assert len(summary.reranking.standings) == 3


def test_a_search_notes_what_it_was_asked_last_but_how_trials_were_drawn_only_if_it_drew_one(
    search_again: Search, storage_here: RDBStorage
) -> None:
    def noted() -> tuple[object, ...]:
        facts = StoredStudy.load(storage_here, "tiny").facts
        return facts.sampler, facts.pruner, facts.seed, facts.num_reranked

    search_again(sampler="tpe", pruner="none", seed=8, rerank=0)
    assert noted() == ("random", "percentile", 7, 0)
    search_again(sampler="tpe", pruner="none", seed=8, rerank=0, trials=4)
    assert noted() == ("tpe", "none", 8, 0)


@pytest.mark.usefixtures("search_again")
def test_a_trials_seed_is_that_of_the_search_and_of_its_place(storage_here: RDBStorage) -> None:
    trials = StoredStudy.load(storage_here, "tiny").trials()
    assert [TrialFacts.of(trial).seed for trial in trials] == [derive_seed(7, "trial", ticket) for ticket in range(3)]


def test_a_search_without_a_name_is_called_after_what_does_not_compare(search: Search, tmp_path: Path) -> None:
    summary = search(study_name=None, trials=1, rerank=0).record
    assert summary is not None
    assert summary.study_name == "few-1000p-1e"
    assert (tmp_path / "results" / "few-1000p-1e" / "summary.json").is_file()


# What is refused before any work


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, Any]:
    """Places where nothing is yet."""
    return {"storage": f"sqlite:///{tmp_path / 'new.db'}", "results_dir": tmp_path / "new"}


def assert_nothing_is_there(tmp_path: Path) -> None:
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


def test_a_reference_without_one_of_the_parameters_is_refused_before_anything_is_there(
    search: Search, nowhere: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(
        SpaceError, match=r"REFERENCE in tiny\.py cannot be every study's first trial: it holds no 'lr'"
    ):
        search(space=replace(TINY_SPACE, reference={}), **nowhere)
    assert_nothing_is_there(tmp_path)


def test_followers_of_a_deleted_search_are_told_before_any_work(
    search_again: Search, storage_here: RDBStorage, listener: Listener
) -> None:
    optuna.delete_study(study_name="tiny", storage=storage_here)
    with pytest.raises(StudyError, match=r"'tiny' are still there: tiny-rerank\. Delete them with .* delete tiny'"):
        search_again()
    assert optuna.get_all_study_names(storage_here) == ["tiny-rerank"]
    assert listener.watched == []


def test_a_reranking_of_another_search_is_told_before_any_trial(
    search_again: Search, storage_here: RDBStorage, listener: Listener
) -> None:
    StudyFacts(split="another").write(StoredStudy.load(storage_here, "tiny-rerank").study)
    with pytest.raises(StudyError, match="'tiny-rerank' re-ranked another search of this name"):
        search_again(trials=4)
    assert listener.watched == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x" * 201, "cannot be used: it is 201 bytes long, and 200 are the most"),
        ("ä" * 101, "cannot be used: it is 202 bytes long, and 200 are the most"),
        ("two\nlines", r"'two\\nlines' cannot be used: .*unprintable"),
        ("a\tb", r"'a\\tb' cannot be used: .*unprintable"),
        ("\x1b[31mred", r"'\\x1b\[31mred' cannot be used: .*unprintable"),
        ("from right \u202e to left", r"cannot be used: .*unprintable"),
        ("not UTF-8: \udcff", r"cannot be used: .*unprintable"),
    ],
)
def test_a_name_that_is_too_long_or_unprintable_is_refused_in_one_line_before_anything_is_there(
    search: Search, nowhere: dict[str, Any], tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(StudyNameError, match=words) as refused:
        search(study_name=name, **nowhere)
    assert str(refused.value).isprintable()
    assert_nothing_is_there(tmp_path)


@pytest.mark.slow
def test_the_longest_name_that_is_accepted_can_be_used_in_all_that_is_named_after_it(
    search: Search, tmp_path: Path
) -> None:
    name = "ä" * 100
    summary = search(study_name=name, trials=1, rerank=1).record
    assert summary is not None
    assert summary.winner_model is not None
    assert (tmp_path / "results" / name / summary.winner_model).is_file()


# A search that stalls


def test_a_search_ends_after_so_many_trials_that_are_no_better_and_is_reranked(
    search: Search, listener: Listener, storage_here: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate_worse(model: TinyCNN, split: Split, runtime: Runtime, crops: Crops = CENTRE) -> Evaluation:
        """Each trial is worse than the one before."""
        num_trials = len(StoredStudy.load(storage_here, "tiny").trials())
        return Evaluation(errors=num_trials, num_images=len(split), loss=1.0)

    monkeypatch.setattr("search.runs.validating.evaluate", evaluate_worse)
    summary = search(trials=50, patience=3, rerank=1).record
    assert summary is not None
    assert (summary.trials.total, summary.stalled) == (4, True)
    assert "No better trial among the last 3 (--patience): the search ends here." in listener.said
    assert summary.winner is not None
    assert summary.winner.number == 0
    again = search(trials=50, patience=3, rerank=1).record
    assert again is not None
    assert again.trials == summary.trials
    without = search(trials=6, rerank=1).record
    assert without is not None
    assert (without.trials.total, without.stalled) == (6, False)
