"""What the recipe means is pinned: a configuration builds the network, and trains it, that it did before.

Studies are bound to the number RECIPE, and a record is repeated by it. `recipe.json` holds what recipe number so and so
computes: values, networks, batches, and two short runs. Nothing of it is source text, so names and words may change.
"""

import copy
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import TorchFunctionMode

from search.config import RECIPE, AugmentConfig, ModelConfig, TrialConfig, derive_seed, fit_channels
from search.files import write_atomically
from search.net.augment import augmented_batches
from search.net.crops import ALL_CROPS, CENTRE
from search.net.data import Split, fingerprint, load_final_splits, load_search_splits, normalise
from search.net.datasets import DATASETS
from search.net.device import Runtime
from search.net.model import TinyCNN
from search.net.train import WeightAverage, augment_strength, evaluate, train
from search.provenance import versions

PINNED = Path(__file__).with_name("recipe.json")
NOWHERE = Path("there-is-no-such-folder")  # the sample needs none
CPU = Runtime(device=torch.device("cpu"), precision="fp32", own_kernels=False)
CONFIG = TrialConfig(
    model=ModelConfig(channels=((3, 4, 4), (5,), (6, 7)), dropout=0.2),
    augment=AugmentConfig(rotation=15.0, shift=2.0, scale=0.2, shear=0.1),
    lr=0.02,
    weight_decay=0.3,  # strong, to be seen in so short a run
    batch_size=32,
)
NETWORKS = {
    "one convolution a stage": ModelConfig(channels=((3,), (4,), (5,))),
    "three, two and one": ModelConfig(channels=((3, 4, 5), (6, 6), (7,))),
    "with dropout": ModelConfig(channels=((4, 4), (5,), (6, 7)), dropout=0.5),
    "without norm": ModelConfig(channels=((4, 5), (6,), (7,)), norm=False),
}


class PortableDropout(TorchFunctionMode):
    """Dropout whose draws are the same on all machines: PyTorch's own differ between Intel's CPUs and others."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in (F.dropout, torch.dropout):
            return func(*args, **(kwargs or {}))

        def drop(images: Tensor, p: float, training: bool = True, **_: bool) -> Tensor:
            return images * (torch.rand(images.shape) >= p) / (1 - p) if training else images

        return drop(*args, **(kwargs or {}))


class DoubleResults(TorchFunctionMode):
    """Whatever is to be fp32 is fp64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def double(argument: Any) -> Any:
            return torch.float64 if argument is torch.float32 else argument

        made = func(*map(double, args), **{name: double(argument) for name, argument in (kwargs or {}).items()})
        return made.double() if isinstance(made, Tensor) and made.dtype == torch.float32 else made


@contextmanager
def double_precision() -> Iterator[None]:
    """Computes in fp64, where a run's rounding stays too small to be seen.

    In fp32 even 24 steps end apart on different CPUs: rounding decides which of two pixels is the larger one, or the
    sign of a gradient, and Adam makes much of little.
    """
    torch.set_default_dtype(torch.float64)
    try:
        with DoubleResults():
            yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def learning_rates() -> Iterator[list[float]]:
    """Of every step that an optimizer takes meanwhile."""
    rates: list[float] = []
    hook = register_optimizer_step_post_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    try:
        yield rates
    finally:
        hook.remove()


# What is pinned


def values() -> dict[str, Any]:
    """What has no rounding to speak of."""
    model, plain = ModelConfig(channels=((1,), (1,), (1,))), AugmentConfig()
    config = TrialConfig(model=model, augment=plain, lr=0.1, weight_decay=0.1)
    shapes = [[[1.0], [1.0], [1.0]], [[1.0, 1.15], [1.45, 1.7], [1.8, 2.0]], [[3.0, 1.0, 2.0], [0.5], [1.0, 4.0]]]
    return {
        "defaults": {
            "dropout": model.dropout,
            "norm": model.norm,
            "augmentation": [plain.rotation, plain.shift, plain.scale, plain.shear],
            "batch size": config.batch_size,
            "averaging horizon": config.average_horizon,
            "final augmentation": config.final_augment,
        },
        "channels by shape and budget": [
            fit_channels(shape, budget) for shape in shapes for budget in (1_000, 7_999, 50_000)
        ],
        "derived seeds": [str(derive_seed(1, "weights")), str(derive_seed("dropout", -1, 15))],
        "splits of the sample": {
            "search": fingerprint(*load_search_splits(DATASETS["sample"], NOWHERE)),
            "verification": fingerprint(*load_final_splits(DATASETS["sample"], NOWHERE)),
        },
        "pixels": {name: astuple(DATASETS[name].pixels) for name in DATASETS},
        "crops": {"one": CENTRE, "all": ALL_CROPS},
        "strength of augmentation by epoch": {
            str(epochs): [augment_strength(epoch, epochs, 0.3) for epoch in range(1, epochs + 1)]
            for epochs in (1, 2, 5, 15)
        },
    }


def networks() -> dict[str, Any]:
    """Logits of new networks, in training and in use."""
    logits: dict[str, Any] = {}
    images = normalise(digits().images[:16], digits().pixels)
    for name, config in NETWORKS.items():
        torch.manual_seed(0)
        model = TinyCNN(config)
        with torch.no_grad(), PortableDropout():
            logits[f"{name}, training"] = model(images)[0]
            model.eval()
            logits[f"{name}, by one view"] = model(images)[0]
            logits[f"{name}, by all views"] = model(images, ALL_CROPS)[0]
    return logits


def batches() -> dict[str, Any]:
    """The first epoch's order and images."""
    generator = torch.Generator().manual_seed(0)
    shown = list(augmented_batches(digits(), CONFIG.batch_size, CONFIG.augment, generator))
    framed = replace(digits(), pixels=replace(digits().pixels, frame=2))
    with_frame = list(augmented_batches(framed, CONFIG.batch_size, CONFIG.augment, generator))
    return {
        "brightness of quarters, with a frame": [
            F.avg_pool2d(images[0, 0:1], 16).flatten() for images, _ in with_frame
        ],
        "number": len(shown),
        "labels": [labels[:8] for _, labels in shown],
        "brightness of their quarters": [F.avg_pool2d(images[0, 0:1], 14).flatten() for images, _ in shown],
    }


def averages() -> dict[str, Any]:
    """The running average of 0, 1, 2, ... after some numbers of steps."""
    model = TinyCNN(ModelConfig(channels=((1,), (1,), (1,))))
    average = WeightAverage(model, CONFIG.average_horizon)
    found = {}
    for step in range(1_000):
        for tensor in model.state_dict().values():
            tensor.fill_(step)
        average.update()
        if step + 1 in (1, 2, 30, 1_000):
            weights = torch.cat([tensor.flatten() for tensor in floats(average.model)])
            found[str(step + 1)] = [weights.min(), weights.max()]
    return found


def long_run() -> dict[str, Any]:
    """48 steps with all that the recipe has, in fp64."""
    with double_precision():
        return run(digits(), epochs=6)


def short_run() -> dict[str, Any]:
    """Less steps than a cycle of the learning rate needs, in fp32."""
    return run(digits().select(torch.arange(100)), epochs=1)


def run(split: Split, *, epochs: int) -> dict[str, Any]:
    with PortableDropout(), learning_rates() as rates:
        results = list(train(CONFIG, split, epochs=epochs, seed=1, runtime=CPU))
    losses = [result.train_loss for result in results]
    model = results[-1].model
    few = split.select(torch.arange(0, len(split), 10))
    images = normalise(few.images[::3], few.pixels)[:3]
    with torch.inference_mode():
        return {
            "learning rates": rates,
            "training losses": losses,
            "means of the weights": [tensor.mean() for tensor in floats(model)],
            "sizes of the weights": [tensor.square().mean().sqrt() for tensor in floats(model)],
            "logits by one view": model(images),
            "logits by all views": model(images, ALL_CROPS),
            "loss by one view": evaluate(model, few, CPU).loss,
            "loss by all views": evaluate(model, few, CPU, ALL_CROPS).loss,
        }


def digits() -> Split:
    """Eight batches of the sample's training images and a rest, of all classes."""
    return load_search_splits(DATASETS["sample"], NOWHERE)[0].select(torch.arange(265) * 12)


def floats(model: TinyCNN) -> list[Tensor]:
    """Weights and statistics."""
    return [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]


MEANINGS: dict[str, tuple[Callable[[], dict[str, Any]], float]] = {  # and by how much they may differ
    "values": (values, 1e-6),
    "networks": (networks, 1e-4),
    "batches": (batches, 1e-4),
    "averages": (averages, 1e-4),
    "long run": (long_run, 1e-5),
    "short run": (short_run, 1e-3),
}


# Comparing


def compute() -> dict[str, Any]:
    """What the recipe means here and now, as JSON has it."""
    torch.set_num_threads(1)
    return {name: as_json(meaning()) for name, (meaning, _) in MEANINGS.items()}


def as_json(value: Any) -> Any:
    """With seven digits, which is what fp32 has."""
    if isinstance(value, dict):
        return {key: as_json(each) for key, each in value.items()}
    if isinstance(value, Tensor):
        return as_json(value.tolist())
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def differences(pinned: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """A line for every value that is another."""
    return [
        line
        for name, (_, tolerance) in MEANINGS.items()
        for line in compare(pinned.get(name), found[name], tolerance, name)
    ]


def compare(pinned: Any, found: Any, tolerance: float, place: str) -> Iterator[str]:
    if isinstance(pinned, dict) and isinstance(found, dict) and pinned.keys() == found.keys():
        for key in pinned:
            yield from compare(pinned[key], found[key], tolerance, f"{place}, {key}")
    elif isinstance(pinned, list) and isinstance(found, list) and len(pinned) == len(found):
        for index, (some, other) in enumerate(zip(pinned, found, strict=True)):
            yield from compare(some, other, tolerance, f"{place} [{index}]")
    elif isinstance(pinned, float) and isinstance(found, float):
        if not abs(found - pinned) <= tolerance * max(1.0, abs(pinned)):  # nor is NaN
            yield f"{place}: {pinned} was pinned, {found} is found"
    elif pinned != found:
        yield f"{place}: {pinned} was pinned, {found} is found"


def advice(pinned: dict[str, Any], changes: list[str]) -> str | None:
    """What is to be done where the file and the code are not of one recipe; None where they are."""
    anew = f"run `python tests/net/test_recipe.py` to write tests/net/{PINNED.name} anew, and say in results/LOG.md"
    if pinned["recipe"] != RECIPE:
        return (
            f"RECIPE is {RECIPE} in search/config.py, but tests/net/{PINNED.name} is that of recipe "
            f"{pinned['recipe']}: {anew} what recipe {RECIPE} changes, and why."
        )
    if not changes:
        return None
    firsts = {line.partition(":")[0].partition(" [")[0]: line for line in reversed(changes)}
    lines = [
        f"Recipe {RECIPE} no longer means what it meant ({len(changes)} values; the first of each kind):",
        *(f"  {line}" for line in reversed(firsts.values())),
        "If that is not what you want, the change is a mistake. If it is, studies and records of before are of another",
        f"recipe: raise RECIPE in search/config.py, {anew} what has changed, and why.",
    ]
    if pinned["versions"] != versions():
        lines.append(f"Or a library computes otherwise: the file is from {pinned['versions']}, here are {versions()}.")
    return "\n".join(lines)


def write(path: Path, found: dict[str, Any]) -> None:
    """Pins a meaning. Exits where it is another than that which the file has for the same number."""
    if path.exists():
        pinned = json.loads(path.read_text(encoding="utf-8"))
        if pinned["recipe"] == RECIPE and (told := advice(pinned, differences(pinned, found))) is not None:
            sys.exit(told)
    text = json.dumps({"recipe": RECIPE, "versions": versions(), **found}, indent=1)
    one_line_each = re.sub(r"\[[^][{}]+\]", lambda numbers: f"[{' '.join(numbers[0][1:-1].split())}]", text)
    write_atomically(path, one_line_each + "\n")
    print(f"{path} is now that of recipe {RECIPE}.")


# The tests


@pytest.fixture(scope="module")
def pinned() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PINNED.read_text(encoding="utf-8"))
    return found


def test_the_recipe_means_what_it_meant(pinned: dict[str, Any]) -> None:
    told = advice(pinned, differences(pinned, compute()))
    if told is not None:
        pytest.fail(told, pytrace=False)


@pytest.fixture
def of_today(pinned: dict[str, Any]) -> dict[str, Any]:
    """A file that is as the code is."""
    return {**copy.deepcopy(pinned), "recipe": RECIPE}


def test_a_changed_value_asks_for_another_number(of_today: dict[str, Any]) -> None:
    found = copy.deepcopy(of_today)
    found["values"]["crops"]["all"][3][1] = 7
    found["values"]["crops"]["all"][4][1] = 7
    found["long run"]["loss by one view"] += 0.1
    changes = differences(of_today, found)
    assert len(changes) == 3
    assert changes[0] == "values, crops, all [3] [1]: 0 was pinned, 7 is found"
    assert changes[2].startswith("long run, loss by one view: ")
    told = advice(of_today, changes)
    assert told is not None
    assert [line in told for line in changes] == [True, False, True]
    assert "raise RECIPE in search/config.py, run `python tests/net/test_recipe.py`" in told
    assert "results/LOG.md" in told


def test_another_number_asks_for_the_file_anew(of_today: dict[str, Any]) -> None:
    told = advice({**of_today, "recipe": RECIPE - 1}, [])
    assert told is not None
    assert told.startswith(f"RECIPE is {RECIPE} in search/config.py, but tests/net/recipe.json is that of recipe")
    assert "run `python tests/net/test_recipe.py`" in told


def test_a_number_keeps_its_meaning_and_a_new_one_gets_its_own(of_today: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    found = {name: copy.deepcopy(of_today[name]) for name in MEANINGS}
    write(path, found)
    found["values"]["defaults"]["batch size"] = 96
    with pytest.raises(SystemExit, match=r"batch size: \d+ was pinned, 96 is found[^$]*raise RECIPE"):
        write(path, found)
    assert differences(json.loads(path.read_text()), of_today) == []
    path.write_text(json.dumps({**of_today, "recipe": RECIPE - 1}))
    write(path, found)
    assert json.loads(path.read_text())["recipe"] == RECIPE
    assert differences(json.loads(path.read_text()), found) == []


if __name__ == "__main__":
    write(PINNED, compute())
