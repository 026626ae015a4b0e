"""The search space: feasible at every point, whatever is drawn."""

from typing import Any

import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FixedTrial

from search.config import DEFAULT_MAX_PARAMS, LARGEST_MAX_PARAMS, SMALLEST_MAX_PARAMS, TrialConfig, count_params
from search.net.model import TinyCNN, num_params
from space import REFERENCE, suggest_config


def drawn_distributions() -> dict[str, BaseDistribution]:
    trial = optuna.create_study().ask()
    suggest_config(trial)
    return trial.distributions


DISTRIBUTIONS: dict[str, Any] = drawn_distributions()
SEPARABLE = ["separable_1", "separable_2", "separable_3"]
SHAPE = ["convs_1", "convs_2", "convs_3", *SEPARABLE, "residual", "widening_2", "widening_3", "growth"]


def values_of(distribution: Any) -> st.SearchStrategy[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return st.sampled_from(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return st.integers(distribution.low, distribution.high)
    if distribution.step is not None:
        num_steps = round((distribution.high - distribution.low) / distribution.step)
        stepped = st.integers(0, num_steps).map(lambda step: distribution.low + step * distribution.step)
        return stepped.map(lambda value: min(value, distribution.high))
    return st.floats(distribution.low, distribution.high)


points = st.fixed_dictionaries({name: values_of(distribution) for name, distribution in DISTRIBUTIONS.items()})
shapes = st.fixed_dictionaries({name: values_of(DISTRIBUTIONS[name]) for name in SHAPE}).map(
    lambda drawn: REFERENCE | drawn
)
budgets = st.integers(SMALLEST_MAX_PARAMS, LARGEST_MAX_PARAMS)


def widths_of(config: TrialConfig) -> list[int]:
    return [width for stage in config.model.channels for width in stage]


@given(shapes, budgets)
@settings(max_examples=150)
def test_every_point_is_feasible_under_every_budget(params: dict[str, Any], max_params: int) -> None:
    config = suggest_config(FixedTrial(params), max_params)
    assert [len(stage) for stage in config.model.channels] == [params[f"convs_{stage}"] for stage in (1, 2, 3)]
    with torch.device("meta"):
        assert num_params(TinyCNN(config.model)) == config.model.num_params <= max_params


@given(shapes, st.one_of(st.integers(2_000, 4_000), st.integers(2_000, LARGEST_MAX_PARAMS)))
@settings(max_examples=150)
def test_at_least_nine_tenths_of_the_budget_are_used(params: dict[str, Any], max_params: int) -> None:
    assert suggest_config(FixedTrial(params), max_params).model.num_params >= 0.9 * max_params


@given(shapes, budgets)
@settings(max_examples=150)
def test_one_more_channel_anywhere_would_break_the_budget(params: dict[str, Any], max_params: int) -> None:
    model = suggest_config(FixedTrial(params), max_params).model
    for stage, widths in enumerate(model.channels):
        for layer, width in enumerate(widths):
            wider = (*widths[:layer], width + 1, *widths[layer + 1 :])
            channels = (*model.channels[:stage], wider, *model.channels[stage + 1 :])
            assert count_params(channels, model.blocks) > max_params


@given(shapes, st.integers(2_000, LARGEST_MAX_PARAMS))
@settings(max_examples=50)
def test_widths_keep_to_their_share_within_a_few_channels(params: dict[str, Any], max_params: int) -> None:
    fitted = suggest_config(FixedTrial(params), max_params)
    ideal = suggest_config(FixedTrial(params), 1_000_000)  # so wide that rounding hardly matters
    assert [len(stage) for stage in fitted.model.channels] == [len(stage) for stage in ideal.model.channels]
    scale = sum(widths_of(fitted)) / sum(widths_of(ideal))
    for width, wide in zip(widths_of(fitted), widths_of(ideal), strict=True):
        assert abs(width - scale * wide) <= max(5, 0.15 * scale * wide)


@pytest.mark.parametrize(
    ("widening_2", "widening_3", "growth"), [(1.0, 1.0, 1.0), (2.5, 0.6, 1.7), (1.5, 1.8, 1.3), (0.7, 3.0, 0.6)]
)
def test_a_wide_net_has_the_drawn_relations(widening_2: float, widening_3: float, growth: float) -> None:
    params = REFERENCE | {"widening_2": widening_2, "widening_3": widening_3, "growth": growth}
    stages = suggest_config(FixedTrial(params), 1_000_000).model.channels
    means = [(first * last) ** 0.5 for first, last in stages]
    assert means[1] / means[0] == pytest.approx(widening_2, rel=0.05)
    assert means[2] / means[1] == pytest.approx(widening_3, rel=0.05)
    for first, last in stages:
        assert last / first == pytest.approx(growth, rel=0.05)


@given(points, budgets)
@settings(max_examples=100)
def test_every_trial_draws_the_same_parameters(params: dict[str, Any], max_params: int) -> None:
    trial = FixedTrial(params)
    suggest_config(trial, max_params)
    assert trial.distributions == DISTRIBUTIONS


def test_at_most_sixteen_parameters_are_drawn() -> None:
    assert len(DISTRIBUTIONS) <= 16


@given(points)
@settings(max_examples=100)
def test_what_is_drawn_reaches_the_configuration(params: dict[str, Any]) -> None:
    config = suggest_config(FixedTrial(params))
    assert (config.lr, config.weight_decay) == (params["lr"], params["weight_decay"])
    assert config.model.dropout == params["dropout"]
    assert config.model.residual is (params["residual"] and config.model.has_inner_blocks)
    separable = [params["separable_1"] and params["convs_1"] > 1, params["separable_2"], params["separable_3"]]
    assert [block == "separable" for block in config.model.blocks] == separable
    assert (config.augment.rotation, config.augment.shift) == (params["rotation"], params["shift"])
    assert config.augment.scale == config.augment.shear == params["distortion"]


def test_the_reference_names_exactly_the_drawn_parameters_and_lies_in_their_ranges() -> None:
    assert REFERENCE.keys() == DISTRIBUTIONS.keys()
    for name, distribution in DISTRIBUTIONS.items():
        internal = distribution.to_internal_repr(REFERENCE[name])
        assert distribution._contains(internal), name
        assert distribution.to_external_repr(internal) == REFERENCE[name]


def test_the_reference_is_the_hand_tuned_net_to_within_a_channel() -> None:
    widths = widths_of(suggest_config(FixedTrial(REFERENCE)))
    assert all(abs(width - known) <= 1 for width, known in zip(widths, [8, 10, 12, 14, 15, 16], strict=True))


@pytest.mark.parametrize("max_params", [SMALLEST_MAX_PARAMS, 3_999, DEFAULT_MAX_PARAMS, LARGEST_MAX_PARAMS])
def test_a_finished_trial_replays_to_the_same_configuration(max_params: int) -> None:
    drawn: dict[int, TrialConfig] = {}

    def objective(trial: optuna.Trial) -> float:
        drawn[trial.number] = suggest_config(trial, max_params)
        return drawn[trial.number].lr

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), direction="maximize")
    study.enqueue_trial(REFERENCE)
    study.optimize(objective, n_trials=8)
    assert len(set(drawn.values())) == 8
    for trial in study.get_trials():
        assert suggest_config(trial, max_params) == drawn[trial.number]


def test_the_default_budget_is_fewer_than_8000_parameters() -> None:
    assert DEFAULT_MAX_PARAMS == 7_999
    assert suggest_config(FixedTrial(REFERENCE)) == suggest_config(FixedTrial(REFERENCE), 7_999)
