"""The values of a run, the parameter budget and derived seeds."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from search.config import (
    BLOCKS,
    LARGEST_MAX_PARAMS,
    SMALLEST_MAX_PARAMS,
    AugmentConfig,
    Block,
    Channels,
    ModelConfig,
    TrialConfig,
    count_params,
    derive_seed,
    fit_channels,
)
from search.net.model import TinyCNN, num_params

stages = st.lists(st.integers(1, 24), min_size=1, max_size=4).map(tuple)
channels = st.tuples(stages, stages, stages)
kinds = st.tuples(*[st.sampled_from(BLOCKS)] * 3)
proportions = st.lists(st.lists(st.floats(0.2, 5.0), min_size=1, max_size=4), min_size=3, max_size=3)
budgets = st.integers(SMALLEST_MAX_PARAMS, LARGEST_MAX_PARAMS)
seed_parts = st.lists(st.integers() | st.text(max_size=8), max_size=4).map(tuple)

TINY = ModelConfig(channels=((2,), (3,), (4,)))
FIELDS: dict[str, Any] = {"model": TINY, "augment": AugmentConfig(), "lr": 0.01, "weight_decay": 0.01}


def test_the_reference_net_has_7746_parameters() -> None:
    assert ModelConfig(channels=((8, 10), (12, 14), (15, 16))).num_params == 7_746


def test_a_separable_net_has_the_count_that_was_worked_out_by_hand() -> None:
    # 60 + (54 + 60 + 20) + (90 + 120 + 24) + (108 + 168 + 28) + (126 + 224 + 32) + (144 + 320 + 40) + 210
    separable: tuple[Block, ...] = ("separable", "separable", "separable")
    assert ModelConfig(channels=((6, 10), (12, 14), (16, 20)), blocks=separable).num_params == 1_828


@given(channels, kinds, st.booleans(), st.booleans())
@settings(max_examples=150)
def test_the_count_by_arithmetic_equals_the_networks_real_count(
    channels: Channels, blocks: tuple[Block, ...], residual: bool, norm: bool
) -> None:
    config = ModelConfig(channels=channels, blocks=blocks, residual=residual, norm=norm)
    with torch.device("meta"):  # real layers, without the cost of filling them
        assert config.num_params == num_params(TinyCNN(config))


def test_the_real_count_includes_parameters_that_are_not_trained() -> None:
    assert num_params(TinyCNN(TINY).requires_grad_(False)) == TINY.num_params


@given(proportions, budgets, kinds)
@settings(max_examples=150)
def test_any_shape_is_fitted_to_any_budget_and_to_the_last_channel(
    shape: list[list[float]], max_params: int, blocks: tuple[Block, ...]
) -> None:
    fitted = fit_channels(shape, max_params, blocks)
    assert [len(stage) for stage in fitted] == [len(stage) for stage in shape]
    assert count_params(fitted, blocks) <= max_params
    for stage, widths in enumerate(fitted):
        for layer, width in enumerate(widths):
            wider = (*widths[:layer], width + 1, *widths[layer + 1 :])
            assert count_params((*fitted[:stage], wider, *fitted[stage + 1 :]), blocks) > max_params


@given(proportions, budgets, st.sampled_from([0.125, 8.0]))
def test_only_the_relation_of_the_widths_matters(shape: list[list[float]], max_params: int, factor: float) -> None:
    scaled = [[factor * width for width in stage] for stage in shape]
    assert fit_channels(scaled, max_params) == fit_channels(shape, max_params)


def test_the_budget_itself_is_allowed_and_one_parameter_less_is_not_overrun() -> None:
    exact = count_params([[1], [1], [1]])
    assert fit_channels([[1.0], [1.0], [1.0]], exact) == ((1,), (1,), (1,))
    with pytest.raises(ValueError, match=f"3 convolutions need {exact} parameters, but got max_params={exact - 1}"):
        fit_channels([[1.0], [1.0], [1.0]], exact - 1)


def test_between_equals_the_later_layer_gets_the_channel() -> None:
    assert fit_channels([[1.0], [1.0], [1.0]], count_params([[1], [1], [2]])) == ((1,), (1,), (2,))


@pytest.mark.parametrize("width", [0.0, -1.0])
def test_a_proportion_that_is_not_positive_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match="Proportions must be positive"):
        fit_channels([[1.0], [width], [1.0]], 8_000)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": ((8,), (8,))}, "3 stages"),
        ({"channels": ((8,), (8,), (8,), (8,))}, "3 stages"),
        ({"channels": ((8,), (), (8,))}, "one or more convolutions"),
        ({"channels": ((8,), (8, 0), (8,))}, "at least one channel"),
        ({"channels": ((8,), (8,), (8,)), "blocks": ("dense", "dense")}, "a word for each of 3 stages"),
        ({"channels": ((8,), (8,), (8,)), "blocks": ("dense", "dense", "thin")}, "a word for each of 3 stages"),
        ({"channels": ((8,), (8,), (8,)), "dropout": 1.0}, r"self\.dropout=1\.0"),
        ({"channels": ((8,), (8,), (8,)), "dropout": -0.1}, r"self\.dropout=-0\.1"),
    ],
)
def test_a_network_that_cannot_be_is_refused_and_shown(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**fields)


@pytest.mark.parametrize("name", ["rotation", "shift", "scale", "shear"])
def test_a_negative_augmentation_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"negative.*{name}=-0.1"):
        AugmentConfig(**{name: -0.1})


def test_an_image_cannot_be_scaled_to_nothing() -> None:
    with pytest.raises(ValueError, match=r"self\.scale=1\.0"):
        AugmentConfig(scale=1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 0.0),
        ("lr", -0.01),
        ("weight_decay", -0.01),
        ("batch_size", 1),
        ("average_horizon", 0.0),
        ("average_horizon", 1.0),
        ("final_augment", -0.1),
        ("final_augment", 1.1),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_and_shown(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"got self.{name}={value}"):
        TrialConfig(**{**FIELDS, name: value})


def test_all_strengths_of_an_augmentation_are_scaled_alike() -> None:
    strengths = AugmentConfig(rotation=10.0, shift=2.0, scale=0.1, shear=0.2)
    assert strengths.scaled(0.5) == AugmentConfig(rotation=5.0, shift=1.0, scale=0.05, shear=0.1)
    assert strengths.scaled(0.0) == AugmentConfig()


@pytest.mark.parametrize(
    ("config", "name"), [(TINY, "dropout"), (AugmentConfig(), "shift"), (TrialConfig(**FIELDS), "lr")]
)
def test_configurations_are_frozen(config: object, name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(config, name, 0.5)


@given(st.lists(seed_parts, unique_by=repr, min_size=2, max_size=20))
@settings(max_examples=50)
def test_derived_seeds_are_distinct_and_no_verification_seed(all_parts: list[tuple[int | str, ...]]) -> None:
    seeds = [derive_seed(*parts) for parts in all_parts]
    assert len(set(seeds)) == len(seeds)
    assert all(2**62 <= seed < 2**63 for seed in seeds)


def test_derived_seeds_never_change() -> None:
    assert derive_seed(0, "trial", 7) == 7_205_302_724_822_315_579
