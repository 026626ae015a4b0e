"""Training, averaging and evaluation."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from search.config import AugmentConfig, ModelConfig, TrialConfig
from search.net.augment import Batch, augmented_batches
from search.net.crops import Crop
from search.net.data import Split, normalise
from search.net.datasets import MNIST_PIXELS
from search.net.device import Runtime
from search.net.model import TinyCNN
from search.net.train import (
    DivergedError,
    EpochResult,
    WeightAverage,
    augment_strength,
    evaluate,
    train,
)

CONFIG = TrialConfig(
    model=ModelConfig(channels=((4,), (5,), (6, 7)), dropout=0.1),
    augment=AugmentConfig(rotation=10.0, shift=2.0, scale=0.1, shear=0.1),
    lr=0.015,
    weight_decay=0.01,
    batch_size=64,
)
REFERENCE_NET = ModelConfig(channels=((8, 10), (12, 14), (15, 16)))
HORIZON = 0.3


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def outcomes(epochs: Iterator[EpochResult]) -> list[tuple[float, dict[str, Tensor]]]:
    return [(result.train_loss, weights_of(result.model)) for result in epochs]


def assert_identical(
    first: list[tuple[float, dict[str, Tensor]]], second: list[tuple[float, dict[str, Tensor]]]
) -> None:
    assert len(first) == len(second)
    for (loss, weights), (other_loss, other_weights) in zip(first, second, strict=True):
        assert loss == other_loss
        assert same(weights, other_weights)


@pytest.fixture
def steps() -> Iterator[list[dict[str, Any]]]:
    """What the optimizer does while the test runs: the learning rate and the weights after each step."""
    seen: list[dict[str, Any]] = []

    def look(optimizer: torch.optim.Optimizer, _args: object, _kwargs: object) -> None:
        groups = optimizer.param_groups
        weights = [parameter.detach().clone() for group in groups for parameter in group["params"]]
        decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
        sizes = [(parameter.numel(), decays[id(parameter)]) for group in groups for parameter in group["params"]]
        seen.append({"lr": [group["lr"] for group in groups], "weights": weights, "decays": sizes})

    hook = register_optimizer_step_post_hook(look)
    yield seen
    hook.remove()


# Repeating


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_identical_runs_give_identical_weights(few_digits: Split, precision: str) -> None:
    runtime = Runtime(device=torch.device("cpu"), precision=precision)
    first = outcomes(train(CONFIG, few_digits, epochs=2, seed=1, runtime=runtime))
    torch.rand(5)  # whatever happened before
    assert_identical(first, outcomes(train(CONFIG, few_digits, epochs=2, seed=1, runtime=runtime)))


def test_runs_that_take_turns_do_not_touch_each_other(few_digits: Split, cpu: Runtime) -> None:
    alone = [outcomes(train(CONFIG, few_digits, epochs=3, seed=seed, runtime=cpu)) for seed in (1, 2)]
    turns = zip(*(train(CONFIG, few_digits, epochs=3, seed=seed, runtime=cpu) for seed in (1, 2)), strict=True)
    together = [outcomes(iter(results)) for results in turns]
    for epoch in range(3):
        assert_identical(together[epoch], [alone[0][epoch], alone[1][epoch]])


def test_measuring_between_the_epochs_changes_nothing(few_digits: Split, cpu: Runtime) -> None:
    untouched = outcomes(train(CONFIG, few_digits, epochs=2, seed=1, runtime=cpu))
    measured = []
    for result in train(CONFIG, few_digits, epochs=2, seed=1, runtime=cpu):
        evaluate(result.model, few_digits, cpu)
        torch.rand(5)
        measured.append((result.train_loss, weights_of(result.model)))
    assert_identical(untouched, measured)


def test_different_seeds_start_and_train_differently(few_digits: Split, cpu: Runtime) -> None:
    first, second = (next(train(CONFIG, few_digits, epochs=1, seed=seed, runtime=cpu)) for seed in (1, 2))
    assert first.train_loss != second.train_loss
    assert not same(weights_of(first.model), weights_of(second.model))


@pytest.mark.parametrize(
    ("dropout", "augmentation", "differs"),
    [(0.0, AugmentConfig(), False), (0.1, AugmentConfig(), True), (0.0, CONFIG.augment, True)],
    ids=["neither", "dropout", "augmentation"],
)
def test_dropout_and_augmentation_are_drawn_anew_in_every_epoch(
    few_digits: Split, cpu: Runtime, dropout: float, augmentation: AugmentConfig, differs: bool
) -> None:
    model = replace(CONFIG.model, dropout=dropout)
    still = replace(CONFIG, model=model, augment=augmentation, lr=1e-30, batch_size=32)  # all at once, nothing learned
    digits = few_digits.select(torch.zeros(32, dtype=torch.long))  # one and the same: their order is no matter
    losses = [result.train_loss for result in train(still, digits, epochs=3, seed=1, runtime=cpu)]
    gaps = [abs(first - second) for first, second in itertools.combinations(losses, 2)]
    assert all((gap > 1e-4) == differs for gap in gaps)


def test_digits_that_do_not_fill_a_batch_are_refused(few_digits: Split, cpu: Runtime) -> None:
    few = few_digits.select(torch.arange(10))
    with pytest.raises(ValueError, match="one batch or more, but got len"):
        next(train(CONFIG, few, epochs=1, seed=1, runtime=cpu))


# The schedule, the optimizer and what is returned


def test_epochs_are_counted_from_one_and_end_in_evaluation_mode(few_digits: Split, cpu: Runtime) -> None:
    results = list(train(CONFIG, few_digits, epochs=3, seed=1, runtime=cpu))
    assert [result.epoch for result in results] == [1, 2, 3]
    assert all(result.seconds > 0 for result in results)
    assert not any(layer.training for layer in results[-1].model.modules())


def test_a_caller_that_stops_early_gets_the_same_first_epoch(few_digits: Split, cpu: Runtime) -> None:
    pruned = train(CONFIG, few_digits, epochs=3, seed=1, runtime=cpu)
    first = outcomes(iter([next(pruned)]))
    pruned.close()
    assert_identical(first, outcomes(train(CONFIG, few_digits, epochs=3, seed=1, runtime=cpu))[:1])


def test_augmentation_fades_over_the_last_third_of_the_epochs() -> None:
    strengths = [augment_strength(epoch, 15, 0.3) for epoch in range(1, 16)]
    assert strengths == pytest.approx([1.0] * 10 + [0.86, 0.72, 0.58, 0.44, 0.3])
    assert augment_strength(1, 1, 0.3) == pytest.approx(0.3)
    assert all(augment_strength(epoch, 7, 1.0) == 1.0 for epoch in range(1, 8))


def test_each_epoch_is_augmented_by_its_strength(
    few_digits: Split, cpu: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotations = []

    def watched(split: Split, size: int, strengths: AugmentConfig, *rest: Any, **options: Any) -> Iterator[Batch]:
        rotations.append(strengths.rotation)
        return augmented_batches(split, size, strengths, *rest, **options)

    monkeypatch.setattr("search.net.train.augmented_batches", watched)
    list(train(CONFIG, few_digits, epochs=3, seed=1, runtime=cpu))
    assert rotations == pytest.approx([10.0, 10.0, 3.0])


def test_the_learning_rate_rises_to_its_peak_and_ends_near_zero(
    few_digits: Split, cpu: Runtime, steps: list[dict[str, Any]]
) -> None:
    list(train(CONFIG, few_digits, epochs=10, seed=1, runtime=cpu))
    rates = [step["lr"][0] for step in steps]
    peak = rates.index(max(rates))
    assert len(rates) == 40
    assert max(rates) == pytest.approx(CONFIG.lr, rel=0.02)
    assert 5 <= peak <= 10  # a fifth of the way
    assert rates == sorted(rates[: peak + 1]) + sorted(rates[peak + 1 :], reverse=True)
    assert rates[0] < CONFIG.lr / 10
    assert 0 < rates[-1] < CONFIG.lr / 1e4


def test_the_last_step_hardly_moves_the_weights(few_digits: Split, cpu: Runtime, steps: list[dict[str, Any]]) -> None:
    list(train(CONFIG, few_digits, epochs=3, seed=1, runtime=cpu))
    moves = [
        max(float((new - old).abs().max()) for old, new in zip(before["weights"], after["weights"], strict=True))
        for before, after in itertools.pairwise(steps)
    ]
    assert 0 < moves[-1] < max(moves) / 1_000


def test_weight_decay_acts_on_matrices_only(few_digits: Split, cpu: Runtime, steps: list[dict[str, Any]]) -> None:
    list(train(replace(CONFIG, weight_decay=0.07), few_digits, epochs=1, seed=1, runtime=cpu))
    parameters = list(TinyCNN(CONFIG.model).parameters())
    num_matrix = sum(parameter.numel() for parameter in parameters if parameter.ndim > 1)
    num_vector = sum(parameter.numel() for parameter in parameters if parameter.ndim == 1)
    assert steps[0]["decays"] == [(num_matrix, 0.07), (num_vector, 0.0)]


def test_the_model_returned_holds_the_averaged_weights(
    few_digits: Split, cpu: Runtime, steps: list[dict[str, Any]]
) -> None:
    config = replace(CONFIG, average_horizon=HORIZON)
    model = list(train(config, few_digits, epochs=3, seed=1, runtime=cpu))[-1].model
    averages = hand_average([step["weights"] for step in steps], HORIZON)
    assert len(steps) == 12
    matrices = torch.cat([parameter.flatten() for parameter in model.parameters() if parameter.ndim > 1])
    vectors = torch.cat([parameter for parameter in model.parameters() if parameter.ndim == 1])
    for returned, average, last in zip([matrices, vectors], averages, steps[-1]["weights"], strict=True):
        assert torch.allclose(returned.double(), average, atol=1e-6)
        assert not torch.equal(returned, last)


def test_the_train_loss_is_the_mean_over_the_epoch(few_digits: Split, cpu: Runtime) -> None:
    plain = replace(CONFIG, model=replace(CONFIG.model, dropout=0.0), augment=AugmentConfig(), batch_size=256, lr=1e-30)
    result = next(train(plain, few_digits, epochs=1, seed=1, runtime=cpu))
    model = TinyCNN(plain.model)
    model.load_state_dict(result.model.state_dict())
    model.train()  # batch statistics, as in training
    expected = F.cross_entropy(model(normalise(few_digits.images, MNIST_PIXELS)), few_digits.labels).detach()
    assert result.train_loss == pytest.approx(float(expected), rel=1e-5)


def test_an_absurd_learning_rate_diverges(few_digits: Split, cpu: Runtime) -> None:
    with pytest.raises(DivergedError, match="nan in epoch 1"):
        list(train(replace(CONFIG, lr=1e30), few_digits, epochs=2, seed=1, runtime=cpu))


@pytest.mark.parametrize("num_steps", [1, 2, 5, 6])
def test_the_shortest_runs_train_too(few_digits: Split, cpu: Runtime, num_steps: int) -> None:
    few = few_digits.select(torch.arange(16 * num_steps))
    results = list(train(replace(CONFIG, batch_size=16), few, epochs=1, seed=1, runtime=cpu))
    assert math.isfinite(results[-1].train_loss)


def test_two_epochs_on_the_sample_learn_to_read_digits(sample_splits: tuple[Split, Split], cpu: Runtime) -> None:
    config = TrialConfig(model=REFERENCE_NET, augment=AugmentConfig(), lr=0.015, weight_decay=0.01)
    results = list(train(config, sample_splits[0], epochs=2, seed=1, runtime=cpu))
    assert evaluate(results[-1].model, sample_splits[1], cpu).accuracy > 85
    assert results[-1].train_loss < results[0].train_loss


# The weight average


def hand_average(states: list[list[Tensor]], horizon: float) -> list[Tensor]:
    """By the formula, in double precision: a_t = a_(t-1) + (x_t - a_(t-1)) / (1 + horizon * t), from t = 0."""
    averages = [tensor.double() for tensor in states[0]]
    for t, state in enumerate(states):
        averages = [a + (x.double() - a) / (1 + horizon * t) for a, x in zip(averages, state, strict=True)]
    return averages


def fill(model: TinyCNN, value: float) -> None:
    for tensor in model.state_dict().values():
        tensor.fill_(value)


@pytest.fixture
def model() -> TinyCNN:
    torch.manual_seed(0)
    return TinyCNN(CONFIG.model)


def test_the_first_update_copies(model: TinyCNN) -> None:
    average = WeightAverage(model, HORIZON)
    for tensor in weights_of(model).values():
        assert tensor.isfinite().all()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    average.update()
    for averaged, current in zip(average.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(averaged, current)


def test_the_average_follows_the_formula_for_weights_and_statistics_and_leaves_integers_alone(model: TinyCNN) -> None:
    average = WeightAverage(model, HORIZON)
    generator = torch.Generator().manual_seed(0)
    states: list[list[Tensor]] = []
    for count in range(1, 20):
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            else:
                tensor.fill_(count)
        states.append([tensor.clone() for tensor in model.state_dict().values() if tensor.is_floating_point()])
        average.update()
    expected = iter(hand_average(states, HORIZON))
    names = set()
    for name, tensor in average.model.state_dict().items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor.double(), next(expected), atol=1e-5), name
            names.add(name.split(".")[-1])
        else:
            assert tensor == 0, name
    assert names == {"weight", "bias", "running_mean", "running_var"}


@pytest.mark.parametrize("num_steps", [100, 1_000])
def test_the_average_lags_by_a_fixed_share_of_the_steps_however_many(model: TinyCNN, num_steps: int) -> None:
    average = WeightAverage(model, 0.1)
    for step in range(num_steps):
        fill(model, float(step))
        average.update()
    lag = num_steps - 1 - float(average.model.head.bias[0])
    assert lag / num_steps == pytest.approx(0.1 / 1.1, rel=0.1)


def test_the_start_of_a_run_is_soon_forgotten(model: TinyCNN) -> None:
    average = WeightAverage(model, 0.085)
    for step in range(60):
        fill(model, 1_000.0 if step < 6 else 1.0)
        average.update()
    assert float(average.model.head.bias[0]) == pytest.approx(1.0, abs=0.01)


def test_the_average_is_apart_from_the_network_that_trains(model: TinyCNN) -> None:
    before = weights_of(model)
    average = WeightAverage(model, HORIZON)
    average.update()
    fill(average.model, 7.0)
    assert same(weights_of(model), before)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert not any(layer.training for layer in average.model.modules())


# Evaluation


@pytest.fixture(scope="module")
def trained(few_digits: Split, cpu: Runtime) -> TinyCNN:
    return list(train(CONFIG, few_digits, epochs=4, seed=1, runtime=cpu))[-1].model


@pytest.fixture(scope="module")
def logits_one_by_one(trained: TinyCNN, sample_splits: tuple[Split, Split]) -> list[Tensor]:
    with torch.no_grad():
        return [trained(normalise(image[None], MNIST_PIXELS))[0] for image in sample_splits[1].images]


@pytest.mark.parametrize("num_images", [1, 249, 250, 251, 800])
def test_errors_are_counted_one_by_one(
    trained: TinyCNN,
    logits_one_by_one: list[Tensor],
    sample_splits: tuple[Split, Split],
    cpu: Runtime,
    num_images: int,
) -> None:
    chosen = torch.arange(num_images) * 800 // num_images
    split = sample_splits[1].select(chosen)
    errors, losses = 0, []
    for place, label in zip(chosen.tolist(), split.labels, strict=True):
        logits = logits_one_by_one[place]
        errors += max(range(10), key=lambda digit: float(logits[digit])) != int(label)
        losses.append(float(-logits.log_softmax(dim=0)[label]))
    evaluation = evaluate(trained, split, cpu)
    assert (evaluation.errors, evaluation.num_images) == (errors, num_images)
    assert evaluation.accuracy == 100 * (num_images - errors) / num_images
    assert evaluation.loss == pytest.approx(sum(losses) / num_images, rel=1e-4)


def test_evaluating_changes_neither_weights_nor_mode(trained: TinyCNN, few_digits: Split, cpu: Runtime) -> None:
    before = weights_of(trained)
    assert evaluate(trained, few_digits, cpu) == evaluate(trained, few_digits, cpu)
    assert same(weights_of(trained), before)
    assert not any(layer.training for layer in trained.modules())


def test_several_views_are_classified_by_their_mean_logits(trained: TinyCNN, few_digits: Split, cpu: Runtime) -> None:
    crops = (Crop(0, 0, 0), Crop(0, 1, -1))
    images = normalise(few_digits.images, MNIST_PIXELS)
    with torch.no_grad():
        # Shifting the image one way shows the network what moving its crop the other way does.
        shifted = images.roll((-1, 1), dims=(2, 3))
        expected = (trained(images) + trained(shifted)) / 2
        torch.testing.assert_close(trained(images, crops), expected)
    loss = float(torch.nn.functional.cross_entropy(expected, few_digits.labels))
    evaluation = evaluate(trained, few_digits, cpu, crops)
    assert evaluation.loss == pytest.approx(loss, rel=1e-5)
    assert evaluation.errors == int((expected.argmax(dim=1) != few_digits.labels).sum())
    assert evaluation.loss != pytest.approx(evaluate(trained, few_digits, cpu).loss, rel=1e-5)


def test_evaluation_in_bf16_nearly_agrees(trained: TinyCNN, few_digits: Split, cpu: Runtime) -> None:
    coarse = evaluate(trained, few_digits, replace(cpu, precision="bf16"))
    fine = evaluate(trained, few_digits, cpu)
    assert coarse.loss != fine.loss
    assert coarse.loss == pytest.approx(fine.loss, rel=0.05)
