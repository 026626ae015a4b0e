"""The ladder: each method added, each left out, everything else the winner's."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import torch
from commands import run
from optuna.trial import FrozenTrial, TrialState
from training import EPOCHS, after_an_epoch, shorten, work_off

from cli import cli
from search.config import RECIPE, AugmentConfig, ModelConfig, TrialConfig
from search.net.data import Split
from search.net.device import Runtime
from search.net.model import TinyCNN, num_params
from search.proof.ladder import ByHand, Ladder
from search.proof.ledger import LADDER_SEEDS, Entry, Look, parse_lines
from search.proof.tested import Subject
from search.provenance import Code
from search.runs import ablating
from search.runs.ablating import BY_HAND, make_ladder
from search.runs.following import open_follower
from search.runs.history import read_ledger
from search.runs.looks import LEDGER_FILE
from search.runs.rungs import RUNGS, RungTask, rung_config, runs_of
from search.runs.testing import LARGEST_SEED, FinalResources, FinalTest
from search.runs.winner import Choice
from search.studies.facts import StudyFacts, TrialFacts
from search.studies.job import ShouldStop
from search.studies.kinds import Kind
from search.studies.lines import read_lines
from search.studies.plan import GivenPlan
from search.studies.study import StoredStudy, StudyError
from search.studies.tickets import keys_left

TINY = TrialConfig(
    model=ModelConfig(channels=((2,), (3,), (4,))),
    augment=AugmentConfig(rotation=10.0, shift=2.0),
    lr=0.02,
    weight_decay=0.01,
    batch_size=64,
)


def test_a_rung_has_its_methods_and_everything_else_of_the_winner() -> None:
    plain = rung_config(TINY, ())
    assert (plain.model.norm, plain.model.dropout, plain.augment) == (False, 0.0, AugmentConfig())
    assert (plain.model.channels, plain.lr, plain.weight_decay) == (TINY.model.channels, TINY.lr, TINY.weight_decay)
    full = rung_config(TINY, ("norm", "dropout", "augmentation"))
    assert (full.model.norm, full.model.dropout, full.augment) == (True, ablating.SOME_DROPOUT, TINY.augment)


def test_the_winners_own_dropout_is_kept_where_it_has_one() -> None:
    config = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, dropout=0.1))
    assert rung_config(config, ("dropout",)).model.dropout == 0.1


@pytest.mark.parametrize("rung", RUNGS)
def test_no_rung_is_over_the_budget_of_the_full_recipe(rung: str) -> None:
    model = rung_config(TINY, RUNGS[rung]).model
    assert num_params(TinyCNN(model)) == model.num_params <= TINY.model.num_params


def test_each_method_is_added_in_turn_and_each_is_left_out_alone() -> None:
    added = [set(RUNGS[rung]) for rung in BY_HAND]
    assert [len(methods) for methods in added] == [0, 1, 2, 3]
    assert all(fewer < more for fewer, more in itertools.pairwise(added))
    full = added[-1]
    assert all(full - {method} in map(set, RUNGS.values()) for method in full)


def test_the_plan_of_more_seeds_begins_with_that_of_fewer() -> None:
    assert runs_of(3).keys[: len(runs_of(2).keys)] == runs_of(2).keys
    runs = runs_of(2).runs
    assert len(runs) == len(set(runs_of(2).keys)) == 2 * len(RUNGS)
    assert {params["seed"] for params in runs} == {LADDER_SEEDS, LADDER_SEEDS + 1}
    assert [params["rung"] for params in runs[: len(RUNGS)]] == list(RUNGS)


@pytest.fixture
def ablation(search_study: StoredStudy, winner: Choice) -> StoredStudy:
    return open_follower(search_study, Kind.ABLATE, winner, TINY)


def test_another_configuration_is_not_taken_apart_in_the_same_study(
    search_study: StoredStudy, winner: Choice, ablation: StoredStudy
) -> None:
    assert open_follower(search_study, Kind.ABLATE, winner, TINY).name == ablation.name == "small-ablate-2"
    other = dataclasses.replace(TINY, lr=0.5)
    with pytest.raises(StudyError, match="'small-ablate-2' took apart something else"):
        open_follower(search_study, Kind.ABLATE, winner, other)


@pytest.fixture
def task(tmp_path: Path) -> RungTask:
    return RungTask(
        test=FinalTest(dataset="sample", data_dir=tmp_path, precision="fp32", epochs=EPOCHS),
        config=TINY,
        folder=tmp_path / "small",
    )


@pytest.fixture
def train_runs(
    ablation: StoredStudy, few_digits: Split, final_splits: tuple[Split, Split], cpu: Runtime, code: Code
) -> Callable[..., list[FrozenTrial]]:
    """Trains runs as a worker does, on few digits; returns their trials."""
    test = final_splits[1].select(torch.arange(0, 1_000, 10))
    resources = FinalResources(training=few_digits, test=test, runtime=cpu)
    code = dataclasses.replace(code, commit="0123abc")

    def train(task: RungTask, plan: GivenPlan, should_stop: ShouldStop = lambda: False) -> list[FrozenTrial]:
        return work_off(ablation, plan, task, resources, code, should_stop)

    return train


def test_every_rung_is_run_and_recorded(
    task: RungTask, ablation: StoredStudy, train_runs: Callable[..., list[FrozenTrial]]
) -> None:
    with pytest.raises(StudyError, match="Another command is at work"):
        make_ladder(ablation, TINY, 1)
    trials = train_runs(task, runs_of(1))
    facts = [TrialFacts.of(trial) for trial in trials]
    assert keys_left(ablation, runs_of(1)) == []
    ladder = make_ladder(ablation, TINY, 1)
    assert [rung.rung for rung in ladder.rungs] == list(RUNGS) == [trial.params["rung"] for trial in trials]
    for rung, trial, each in zip(ladder.rungs, trials, facts, strict=True):
        assert trial.value is not None
        assert each.errors_one_view is not None
        assert (rung.test.accuracies, rung.test.mean, rung.test.std) == ((trial.value,), trial.value, None)
        assert rung.test_one_view.mean == 100 - each.errors_one_view
        assert rung.diverged == 0
        assert rung.train_one_view.accuracies == (each.train_accuracy,)
        assert rung.methods == RUNGS[rung.rung]
        assert (rung.errors, rung.errors_one_view) == ((each.errors,), (each.errors_one_view,))
        assert rung.config == rung_config(TINY, rung.methods)
        assert rung.num_params == each.num_params == rung_config(TINY, rung.methods).model.num_params
    assert list(ladder.seeds) == [LADDER_SEEDS]
    assert (ladder.study_name, ladder.trial, ladder.dataset, ladder.config) == ("small", 2, "sample", TINY)
    assert (ladder.dropout, ladder.winner_has_dropout) == (ablating.SOME_DROPOUT, False)
    assert (ladder.device, ladder.precision, ladder.commit) == ("cpu", "fp32", "0123abc")
    assert ablating.num_complete_seeds(ablation) == 1
    assert {rung.by_hand for rung in ladder.rungs} == {None}  # the sample is not what they were measured on
    StudyFacts(dataset="mnist").write(ablation.study)
    by_hand = [rung.by_hand for rung in make_ladder(ablation, TINY, 1).rungs]
    assert (by_hand[0], by_hand[-1]) == (ByHand(train=80.05, test=79.29), None)
    assert len({each.train_loss for each in facts}) == len(trials)  # no two rungs are the same


def test_every_run_is_on_record_as_a_look_at_its_rungs_configuration(
    task: RungTask, ablation: StoredStudy, train_runs: Callable[..., list[FrozenTrial]], tmp_path: Path
) -> None:
    trials = train_runs(task, runs_of(1))
    entries = parse_lines((task.folder / LEDGER_FILE).read_bytes(), "here")
    assert sorted(line for _, line in read_lines(ablation.storage)) == sorted(map(to_line, entries))
    for trial, entry in zip(trials, entries, strict=True):
        assert isinstance(entry, Look)
        config = rung_config(TINY, RUNGS[trial.params["rung"]])
        assert entry.subject == Subject.of(config, dataset="sample", epochs=4, recipe=RECIPE)
        assert (entry.seed, entry.num_params, entry.trial) == (LADDER_SEEDS, config.model.num_params, 2)
        assert (entry.outcome.command, entry.outcome.errors) == ("ablate", TrialFacts.of(trial).errors)
    # The file, the study and the record tell of the same looks.
    make_ladder(ablation, TINY, 1).write(task.folder / "ablation.json")
    assert len(read_ledger(ablation.storage, tmp_path).entries) == len(RUNGS)


def to_line(entry: Entry) -> str:
    return entry.model_dump_json()


def test_an_interrupted_run_is_tried_again(task: RungTask, train_runs: Callable[..., list[FrozenTrial]]) -> None:
    first = GivenPlan(runs=runs_of(1).runs[:1])
    [cut_off] = train_runs(task, first, after_an_epoch())
    assert cut_off.state == TrialState.FAIL
    assert TrialFacts.of(cut_off).errors is None
    [again] = train_runs(task, first)
    assert (again.state, again.params) == (TrialState.COMPLETE, cut_off.params)


def test_runs_that_diverge_are_counted_and_left_out_of_the_means(
    task: RungTask, ablation: StoredStudy, train_runs: Callable[..., list[FrozenTrial]]
) -> None:
    diverging = dataclasses.replace(task, config=dataclasses.replace(TINY, lr=1e38))
    [diverged] = train_runs(diverging, GivenPlan(runs=runs_of(1).runs[:1]))
    assert (diverged.state, diverged.value) == (TrialState.COMPLETE, 0.0)
    train_runs(task, runs_of(1))
    rung, *others = make_ladder(ablation, TINY, 1).rungs
    assert (rung.diverged, rung.test.mean, rung.train_one_view.mean) == (1, None, None)
    assert (rung.errors, rung.errors_one_view) == ((100,), (100,))  # of as many test images
    assert all(other.diverged == 0 for other in others)


def test_no_verification_can_take_a_seed_of_the_ladder() -> None:
    options = {option.name: option for option in cli.commands["verify-best"].params}
    first_seed, num_seeds = options["first_seed"].type, options["seeds"].type
    assert isinstance(first_seed, click.IntRange)
    assert isinstance(num_seeds, click.IntRange)
    assert (first_seed.max or 0) + (num_seeds.max or 0) < LADDER_SEEDS
    assert max(params["seed"] for params in runs_of(100).runs) <= LARGEST_SEED


@pytest.mark.slow
@pytest.mark.page
def test_the_ladder_has_a_table_a_plot_and_every_rung(
    search_study: StoredStudy, places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(search_study, monkeypatch)
    result = run("ablate", "--seeds", "1", "--workers", "0", "--json", *places)
    assert result.exit_code == 0, result.stderr
    ladder = Ladder.model_validate_json(result.stdout)
    assert [rung.rung for rung in ladder.rungs] == list(RUNGS)
    assert all(len(rung.test.accuracies) == 1 for rung in ladder.rungs)
    folder = tmp_path / "results" / "small"
    assert Ladder.read(folder / "ablation.json") == ladder
    assert len(parse_lines((folder / LEDGER_FILE).read_bytes(), "here")) == len(RUNGS)
    assert (folder / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert run("ablate", "--trial", "0", "--seeds", "1", "--study-name", "nowhere", *places).exit_code == 1
    table = run("ablate", "--seeds", "1", *places).stdout
    assert all(rung in table for rung in RUNGS)
    assert "Nothing is picked by these figures." in (folder / "ablation.md").read_text(encoding="utf-8")
