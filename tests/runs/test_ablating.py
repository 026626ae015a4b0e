"""The ladder: each method added, each left out, everything else the winner's."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import click
import optuna
import pytest
import torch
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from cli import cli
from search import ablate
from search.ablate import HAND_MADE, RUNGS, AblationJob
from search.config import AugmentConfig, ModelConfig, TrialConfig
from search.data import Split
from search.final import LARGEST_SEED
from search.model import TinyCNN, num_params
from search.study import StudyError
from search.tickets import claim_trial, tickets_left
from search.train import Runtime
from search.verify import Choice

TINY = TrialConfig(
    model=ModelConfig(channels=((2,), (3,), (4,))),
    augment=AugmentConfig(rotation=10.0, shift=2.0),
    lr=0.02,
    weight_decay=0.01,
    batch_size=64,
)


def test_a_rung_has_its_methods_and_everything_else_of_the_winner() -> None:
    plain = ablate.rung_config(TINY, ())
    assert (plain.model.norm, plain.model.dropout, plain.augment) == (False, 0.0, AugmentConfig())
    assert (plain.model.channels, plain.lr, plain.weight_decay) == (TINY.model.channels, TINY.lr, TINY.weight_decay)
    full = ablate.rung_config(TINY, ("norm", "dropout", "augmentation"))
    assert (full.model.norm, full.model.dropout, full.augment) == (True, ablate.SOME_DROPOUT, TINY.augment)


def test_the_winners_own_dropout_is_kept_where_it_has_one() -> None:
    config = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, dropout=0.1))
    assert ablate.rung_config(config, ("dropout",)).model.dropout == 0.1


@pytest.mark.parametrize("rung", RUNGS)
def test_no_rung_is_over_the_budget_of_the_full_recipe(rung: str) -> None:
    model = ablate.rung_config(TINY, RUNGS[rung]).model
    assert num_params(TinyCNN(model)) == model.num_params <= TINY.model.num_params


def test_each_method_is_added_in_turn_and_each_is_left_out_alone() -> None:
    added = [set(RUNGS[rung]) for rung in HAND_MADE]
    assert [len(methods) for methods in added] == [0, 1, 2, 3]
    assert all(fewer < more for fewer, more in itertools.pairwise(added))
    full = added[-1]
    assert all(full - {method} in map(set, RUNGS.values()) for method in full)


def test_the_plan_of_more_seeds_begins_with_that_of_fewer() -> None:
    assert ablate.tickets_of(3)[: len(ablate.tickets_of(2))] == ablate.tickets_of(2)
    places = [ablate.place_of(ticket) for ticket in ablate.tickets_of(2)]
    assert sorted(set(places)) == sorted(places)
    assert {seed for _, seed in places} == {ablate.FIRST_SEED, ablate.FIRST_SEED + 1}
    assert [rung for rung, _ in places[: len(RUNGS)]] == list(RUNGS)


@pytest.fixture
def ablation(searched_storage: RDBStorage, search_study: optuna.Study, winner: Choice) -> optuna.Study:
    return ablate.open_ablation_study(searched_storage, search_study, winner.trial, TINY)


def test_another_configuration_is_not_taken_apart_in_the_same_study(
    searched_storage: RDBStorage, search_study: optuna.Study, winner: Choice, ablation: optuna.Study
) -> None:
    again = ablate.open_ablation_study(searched_storage, search_study, winner.trial, TINY)
    assert again.study_name == ablation.study_name == "small-ablate-2"
    other = dataclasses.replace(TINY, lr=0.5)
    with pytest.raises(StudyError, match="'small-ablate-2' took apart something else"):
        ablate.open_ablation_study(searched_storage, search_study, winner.trial, other)


@pytest.fixture
def job(storage_url: str, ablation: optuna.Study, tmp_path: Path) -> AblationJob:
    return AblationJob(
        storage_url=storage_url,
        study_name=ablation.study_name,
        tickets=ablate.tickets_of(1),
        config=TINY,
        epochs=2,
        dataset="sample",
        data_dir=tmp_path,
        precision="fp32",
        commit="0123abc",
    )


@pytest.fixture
def run_next(
    ablation: optuna.Study,
    searched_storage: RDBStorage,
    few_digits: Split,
    final_splits: tuple[Split, Split],
    cpu: Runtime,
) -> Callable[..., FrozenTrial]:
    def run(job: AblationJob, *, should_stop: Callable[[], bool] = lambda: False) -> FrozenTrial:
        trial = claim_trial(
            ablation,
            searched_storage,
            job.tickets,
            sampler=job.sampler,
            seed=job.seed,
            fixed_params=job.fixed_params(),
        )
        assert trial is not None
        test = final_splits[1].select(torch.arange(100))
        job.run(ablation, trial, searched_storage, (few_digits, test, cpu), should_stop)
        return ablation.trials[trial.number]

    return run


def test_every_rung_is_run_and_recorded(
    job: AblationJob, ablation: optuna.Study, run_next: Callable[..., FrozenTrial]
) -> None:
    with pytest.raises(StudyError, match="Another command is at work"):
        ablate.make_record(ablation, 1)
    runs = [run_next(job) for _ in job.tickets]
    assert tickets_left(ablation, job.tickets) == []
    facts = ablate.make_record(ablation, 1)
    assert [rung["rung"] for rung in facts["rungs"]] == list(RUNGS) == [run.params["rung"] for run in runs]
    for rung, run in zip(facts["rungs"], runs, strict=True):
        assert rung["test"] == {"accuracies": [run.value], "mean": run.value, "std": None}
        assert rung["test_one_view"]["mean"] == 100 - run.user_attrs["errors_one_view"]
        assert rung["diverged"] == 0
        assert rung["train_one_view"]["accuracies"] == [run.user_attrs["train_accuracy"]]
        assert rung["num_params"] == ablate.rung_config(TINY, RUNGS[rung["rung"]]).model.num_params
    assert facts["seeds"] == [ablate.FIRST_SEED]
    assert (facts["dropout"], facts["winner_has_dropout"]) == (ablate.SOME_DROPOUT, False)
    assert (facts["device"], facts["precision"], facts["commit"]) == ("cpu", "fp32", "0123abc")
    assert ablate.num_complete_seeds(ablation) == 1
    assert {rung["hand_made"] for rung in facts["rungs"]} == {None}  # the sample is not what they were measured on
    ablation.set_user_attr("dataset", "mnist")
    hand_made = [rung["hand_made"] for rung in ablate.make_record(ablation, 1)["rungs"]]
    assert (hand_made[0], hand_made[-1]) == ({"train": 80.05, "test": 79.29}, None)
    assert len({run.user_attrs["train_loss"] for run in runs}) == len(runs)  # no two rungs are the same


def test_an_interrupted_run_is_tried_again(
    job: AblationJob, ablation: optuna.Study, run_next: Callable[..., FrozenTrial]
) -> None:
    cut_off = run_next(job, should_stop=lambda: True)
    assert cut_off.state == TrialState.FAIL
    assert "errors" not in cut_off.user_attrs
    assert run_next(job).params == cut_off.params


def test_runs_that_diverge_are_counted_and_left_out_of_the_means(
    job: AblationJob, ablation: optuna.Study, run_next: Callable[..., FrozenTrial]
) -> None:
    diverging = dataclasses.replace(job, config=dataclasses.replace(TINY, lr=1e38))
    runs = [run_next(diverging), *(run_next(job) for _ in job.tickets[1:])]
    assert (runs[0].state, runs[0].value) == (TrialState.COMPLETE, 0.0)
    rung, *others = ablate.make_record(ablation, 1)["rungs"]
    assert (rung["diverged"], rung["test"]["mean"], rung["train_one_view"]["mean"]) == (1, None, None)
    assert all(other["diverged"] == 0 for other in others)


def test_no_verification_can_take_a_seed_of_the_ladder() -> None:
    options = {option.name: option for option in cli.commands["verify-best"].params}
    first_seed, num_seeds = options["first_seed"].type, options["seeds"].type
    assert isinstance(first_seed, click.IntRange)
    assert isinstance(num_seeds, click.IntRange)
    assert (first_seed.max or 0) + (num_seeds.max or 0) < ablate.FIRST_SEED
    assert ablate.place_of(max(ablate.tickets_of(100)))[1] <= LARGEST_SEED
